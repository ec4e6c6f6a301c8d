"""A long period in stretches of time, so that nobody ever holds more than a page of its runs."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import UUID

from analytics.database import Database
from analytics.hours import HOUR, date_of

HOUR_MS = HOUR * 1000


class Stretch(NamedTuple):
    """From one time on and before another, in UTC ms; about so many executions lie in it."""

    since: int
    until: int
    executions: int

    def parameters(self) -> dict[str, int]:
        """Return what queries are told of it: its hours, both included, as Unix seconds as well."""
        first, last = self.since // HOUR_MS * HOUR, (self.until - 1) // HOUR_MS * HOUR
        return {"since": self.since, "until": self.until, "from": first, "to": last}


async def stretches(database: Database, workspace: UUID, since: int, until: int, most: int) -> AsyncIterator[Stretch]:
    """Yield those stretches of [since, until) that have runs, in order: of `most` executions, or of a single second.

    All executions of a run lie in the same one, since they carry the same time. None spans two months: what is inserted
    for one stretch falls into one partition, and so appears at once.
    """
    asked = {"workspace": workspace, "since": since, "until": until}
    joined: Stretch | None = None
    for hour in await _counted(database, "hours_with_runs", HOUR_MS, **asked):
        for part in await _seconds(database, workspace, hour) if hour.executions > most else (hour,):
            if joined is not None and not _fit(joined, part, most):
                yield joined
                joined = None
            joined = part if joined is None else Stretch(joined.since, part.until, joined.executions + part.executions)
    if joined is not None:
        yield joined


async def _seconds(database: Database, workspace: UUID, hour: Stretch) -> list[Stretch]:
    return await _counted(database, "seconds_with_runs", 1000, workspace=workspace, since=hour.since, until=hour.until)


async def _counted(database: Database, query: str, length: int, **asked: Any) -> list[Stretch]:
    """Return what a query counts, an hour or a second at a time, cut where the period begins and ends."""
    rows = await database.rows(query, **asked)
    edges = asked["since"], asked["until"]
    return [Stretch(max(edges[0], row["at"]), min(edges[1], row["at"] + length), row["executions"]) for row in rows]


def _fit(one: Stretch, other: Stretch, most: int) -> bool:
    return one.executions + other.executions <= most and _month(one.since) == _month(other.since)


def _month(at: int) -> tuple[int, int]:
    day = date_of(at)
    return day.year, day.month
