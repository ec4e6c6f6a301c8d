"""A long period in stretches of whole hours, so that nobody ever holds more than a page of its runs."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from analytics.database import Database
from analytics.hours import HOUR, date_of


class Stretch(NamedTuple):
    """From one Unix second on and before another; `executions` lie in it, or a few less."""

    start: int
    end: int
    executions: int

    def parameters(self) -> dict[str, int]:
        """Return what queries are told of it."""
        return {"from": self.start, "to": self.end}


async def stretches(database: Database, workspace: UUID, start: int, end: int, most: int) -> list[Stretch]:
    """Return those stretches of [start, end) that have runs, in order: of `most` executions each, or of one hour.

    None spans two months: what is inserted for one stretch falls into one partition, and so appears at once.
    """
    rows = await database.rows("hours_with_runs", workspace=workspace, **{"from": start, "to": end})
    hours = [Stretch(max(start, row["hour"]), min(end, row["hour"] + HOUR), row["executions"]) for row in rows]
    return list(_joined(hours, most))


def _joined(hours: Iterable[Stretch], most: int) -> Iterator[Stretch]:
    joined: Stretch | None = None
    for hour in hours:
        if joined is not None and _fit(joined, hour, most):
            joined = Stretch(joined.start, hour.end, joined.executions + hour.executions)
            continue
        if joined is not None:
            yield joined
        joined = hour
    if joined is not None:
        yield joined


def _fit(one: Stretch, other: Stretch, most: int) -> bool:
    return one.executions + other.executions <= most and _month(one.start) == _month(other.start)


def _month(second: int) -> tuple[int, int]:
    day = date_of(second * 1000)
    return day.year, day.month
