"""What was said of runs: stored, and counted with the hour in which the run was accepted."""

import time
from collections.abc import Callable
from typing import Protocol
from uuid import UUID, uuid4

import orjson

from analytics.database import Database, Table
from analytics.hours import Hour, hour_of, iso
from analytics.ingest import MARKS, mark_row
from common.contracts.outcomes_v1 import SMALLEST, OutcomeGiven, RecordedOutcome
from common.ids import now_ms

OUTCOMES = Table(
    "outcomes", ("workspace_id", "run_id", "accepted_at", "success", "score", "note", "recorded_at", "version")
)

ANNOUNCED_MS = 120_000
"""An outcome is stored within this time after it was announced: twice as long as a request to the database may take."""


class Acceptances(Protocol):
    """Knows when runs were accepted."""

    async def accepted_at(self, workspace: UUID, run_id: UUID) -> int:
        """Return that in UTC ms; raise `NotFound`, or `Unavailable` while the run may yet be read."""


class Outcomes:
    """Records outcomes, each in place of the one before.

    First its hour is announced: it will be counted some minutes later, whatever happens here. Then the outcome is
    stored, and then its hour is counted at once instead. So a process that is killed in between leaves none uncounted.
    """

    def __init__(self, database: Database, runs: Acceptances, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._runs = runs
        self._clock = clock
        self._version = 0

    async def record(self, workspace: UUID, run_id: UUID, given: OutcomeGiven) -> RecordedOutcome:
        """Return once it is on disk, and will be counted."""
        at = await self._runs.accepted_at(workspace, run_id)
        hour, announcement = (workspace, hour_of(at)), uuid4()
        score = None if given.score is None else given.score.quantize(SMALLEST)
        given = given.model_copy(update={"score": score})
        await self._announce(hour, announcement)
        recorded_at = await self._store(workspace, run_id, at, given)
        await self._mark(hour, announcement)
        said = given.model_dump() | {"note": given.note or None}
        return RecordedOutcome(run_id=str(run_id), **said, recorded_at=iso(recorded_at))

    async def _announce(self, hour: Hour, name: UUID) -> None:
        row = mark_row(hour, "settling", name, marked_at=self._clock() + ANNOUNCED_MS)
        await self._database.insert(MARKS, [row])

    async def _store(self, workspace: UUID, run_id: UUID, at: int, given: OutcomeGiven) -> int:
        """Return when that was. A clock set back does not go back here: who spoke last is heard."""
        self._version = max(self._version + 1, time.time_ns())
        now = self._clock()
        score = None if given.score is None else str(given.score)
        values = (workspace, run_id, at, given.success, score, given.note or "", now, self._version)
        await self._database.insert(OUTCOMES, [orjson.dumps(dict(zip(OUTCOMES.columns, values, strict=True)))])
        return now

    async def _mark(self, hour: Hour, announcement: UUID) -> None:
        now = self._clock()
        fresh = mark_row(hour, "fresh", uuid4(), marked_at=now, appended_at=now)
        await self._database.insert(MARKS, [fresh, mark_row(hour, "settling", announcement, sign=-1)])
