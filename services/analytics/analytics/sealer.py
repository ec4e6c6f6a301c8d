"""Recomputes the usage of dirty hours, and of their days: never increments it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from uuid import UUID, uuid4

from analytics.database import Replicated
from analytics.hours import Hour, days_of, hours_of_days, stamp
from analytics.ingest import ACCEPTED, MARKS, RUNS, mark_row
from analytics.telemetry import SEAL_FAILURES, SEALED_HOURS, SEALS
from common.errors import Unavailable
from common.ids import now_ms

log = logging.getLogger(__name__)

SETTLE_MS = 60_000
"""Each hour is counted once more this long after its last mark: whatever was still under way is in by then."""

SHORTEST_PAUSE, LONGEST_PAUSE, PAUSES_PER_SEAL = 0.2, 5.0, 5
"""Seconds, and how many times the last seal's duration: sealing takes a sixth of the time at most, up to the longest
pause, and a completed run shows within two seconds as long as a seal takes less than 0.3."""

HOURS_PER_SEAL = 500
NAMED_PROMPTS = 10_000
"""Prompts a workspace and day that are kept by name; the cheaper rest is counted together."""

COUNTED = (RUNS.name, ACCEPTED.name, "outcomes")
"""What hours are counted from."""


class Mark(NamedTuple):
    """On an hour that must be counted: now if it is fresh, otherwise once more when it is old enough."""

    name: UUID
    fresh: bool
    marked_at: int


class Sealer:
    """Seals while this process owns the first partition, so that one of all replicas does."""

    def __init__(self, database: Replicated, is_owner: Callable[[], bool], clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._is_owner = is_owner
        self._clock = clock
        self._version = 0

    async def run(self) -> None:
        """Seal for ever."""
        while True:
            started = time.monotonic()
            if self._is_owner():
                await self._try()
            took = time.monotonic() - started
            await asyncio.sleep(min(max(took * PAUSES_PER_SEAL, SHORTEST_PAUSE), LONGEST_PAUSE))

    async def _try(self) -> None:
        try:
            await self.seal()
        except Unavailable:
            SEAL_FAILURES.inc()  # The marks stand: the next turn finds them again.
        except Exception:  # a sealer that ends would freeze every figure
            SEAL_FAILURES.inc()
            log.exception("sealing failed; it is tried again")

    async def seal(self) -> int:
        """Count the hours that are due, those first that were due first; return how many there were."""
        now = self._clock()
        await self._database.catch_up(MARKS.name)
        due = dict(list(_due(await self._marks(), now))[:HOURS_PER_SEAL])
        if due:
            await self._database.catch_up(*COUNTED)  # after the marks were read: what they stand for is older
            with SEALS.time():
                await self._recompute(sorted(due))
                await self._clear(due)
            SEALED_HOURS.inc(len(due))
        return len(due)

    async def _marks(self) -> dict[Hour, list[Mark]]:
        marks: dict[Hour, list[Mark]] = {}
        for row in await self._database.rows("dirty_hours"):
            mark = Mark(row["mark"], bool(row["fresh"]), row["marked_at"])
            marks.setdefault((row["workspace_id"], row["hour"]), []).append(mark)
        return marks

    async def _recompute(self, hours: list[Hour]) -> None:
        """Count hours, then their days from the hours, then the prompts of the days."""
        whole_days = _stamped(hours_of_days(hours))
        await self._execute("seal_hours", hours=_stamped(hours))
        await self._database.catch_up("usage_hours")
        await self._execute("seal_days", hours=whole_days)
        await self._execute("seal_prompts", hours=whole_days, days=days_of(hours), named=NAMED_PROMPTS)

    async def _execute(self, query: str, **parameters: object) -> None:
        """Take the version before the query reads: who read later wins. A clock set back does not go back here."""
        self._version = max(self._version + 1, time.time_ns())
        await self._database.execute(query, version=self._version, **parameters)

    async def _clear(self, due: dict[Hour, list[Mark]]) -> None:
        """Clear the marks that were read, and none set since; hours counted afresh are marked to settle."""
        rows: list[bytes] = []
        for hour, marks in due.items():
            rows += (mark_row(hour, "fresh" if mark.fresh else "settling", mark.name, sign=-1) for mark in marks)
            if last := max((mark.marked_at for mark in marks if mark.fresh), default=None):
                rows.append(mark_row(hour, "settling", uuid4(), marked_at=last))
        await self._database.insert(MARKS, rows)


def _due(marks: dict[Hour, list[Mark]], now: int) -> Iterator[tuple[Hour, list[Mark]]]:
    """Yield the hours that are due with the marks to clear: those of a time that is yet to come announce an outcome."""
    for hour, of_hour in marks.items():
        settled = max(mark.marked_at for mark in of_hour) <= now - SETTLE_MS
        if settled or any(mark.fresh for mark in of_hour):
            yield hour, [mark for mark in of_hour if mark.fresh or mark.marked_at <= now]


def _stamped(hours: Iterable[Hour]) -> list[tuple[UUID, str]]:
    return [(workspace, stamp(hour)) for workspace, hour in hours]
