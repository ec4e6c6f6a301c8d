"""The truth about a batch that is being fed: what analytics has read in the log."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from common.contracts.batch_answers_v1 import BatchAcceptance, BatchAccepted, BatchRows, BatchTotals
from common.errors import Unavailable
from common.ids import now_ms
from gateway.batches.course import Course
from gateway.batches.lease import Lease
from gateway.batches.quote import History

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
SHORT_SECONDS = 0.25
"""When nothing is left to wait for but analytics itself."""

PAGE = 1000
MARGIN_MS = 1_000
"""How much further than a moment analytics must have read, since its clock is not the database's."""


class BatchLog(History, Protocol):
    """What analytics knows of a batch."""

    async def batch_rows(
        self, workspace_id: UUID, batch_id: str, after: str | None, limit: int, *, texts: bool
    ) -> BatchRows:
        """Return a page of what ended, behind the cursor's place in the log."""

    async def batch_accepted(
        self, workspace_id: UUID, batch_id: str, since: int, until: int, after: str | None
    ) -> BatchAcceptance:
        """Return a page of the runs that reached the log, of those accepted within these times (UTC ms)."""

    async def batch_totals(self, workspace_id: UUID, batch_id: str, since: int, until: int) -> BatchTotals:
        """Return the batch's sums, of the runs accepted within these times (UTC ms)."""


class Truth:
    """Tells a batch's course what happened, page by page, each execution once."""

    def __init__(self, lease: Lease, course: Course, analytics: BatchLog) -> None:
        self._lease = lease
        self._course = course
        self._analytics = analytics
        self._cursor: str | None = None

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[Callable[[], None]]:
        """Follow the truth meanwhile; yield what raises whatever ended that."""
        following = asyncio.create_task(self.follow(), name=f"truth of {self._lease.batch.id}")

        def check() -> None:
            if following.done():
                following.result()

        try:
            yield check
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def follow(self) -> None:
        """Read the truth, page by page, for ever."""
        while True:
            try:
                more = await self._read_page()
                await self._settle()
            except Unavailable as error:
                more = False
                log.warning("analytics does not tell of a batch: %s", error.message)
            if not more:
                await self._rest()

    async def _rest(self) -> None:
        """Wait for the next look at the truth: not for long when nothing but that is missing."""
        until = time.monotonic() + LOOK_SECONDS
        await asyncio.sleep(SHORT_SECONDS)
        while time.monotonic() < until and not self._awaited():  # noqa: ASYNC110 - replies come at any time
            await asyncio.sleep(SHORT_SECONDS)

    def _awaited(self) -> bool:
        return self._course.budget.unconfirmed and not self._course.states.flights

    async def _read_page(self) -> bool:
        """Take in a page; return whether there is more."""
        batch = self._lease.batch
        page = await self._analytics.batch_rows(batch.workspace_id, batch.id, self._cursor, PAGE, texts=False)
        now = now_ms()
        for row in page.rows:
            self._course.shown(row, now)
        self._cursor, self._course.read_up_to = page.next_cursor, page.read_up_to
        return len(page.rows) == PAGE

    async def _settle(self) -> None:
        """Find out what became of rows that nobody acknowledged, once nothing can be appended of them any more."""
        read_up_to = self._course.read_up_to or 0
        unsure = {
            row: flight.accepted_at
            for row, flight in self._course.states.flights.items()
            if flight.unsure_until is not None and read_up_to > flight.unsure_until + MARGIN_MS
        }
        if not unsure:
            return
        await self._find_accepted(min(unsure.values()), max(unsure.values()) + 1, set(unsure))

    async def _find_accepted(self, since: int, until: int, unsure: set[int]) -> None:
        found = {
            self._course.index.find(run.custom_id)
            for run in await self._accepted(since, until)
            if self._course.is_current(run.run_id, run.custom_id)
        }
        for row in unsure & self._course.states.flights.keys():
            if row in found:
                flight = self._course.states.flights[row]
                self._course.states.flights[row] = replace(flight, unsure_until=None)
            else:
                self._course.unsent(row, now_ms())

    async def _accepted(self, since: int, until: int) -> list[BatchAccepted]:
        batch, found = self._lease.batch, list[BatchAccepted]()
        after: str | None = None
        while True:
            page = await self._analytics.batch_accepted(batch.workspace_id, batch.id, since, until, after)
            found += page.rows
            if (after := page.next_cursor) is None:
                return found

    async def recover(self) -> None:
        """Learn what an earlier owner sent, once everything that it could send is known; feed only what is missing."""
        batch = self._lease.batch
        while True:
            if await self._read_page():
                continue
            if (self._course.read_up_to or 0) > self._lease.owned_until + MARGIN_MS:
                break
            await asyncio.sleep(SHORT_SECONDS)
        for run in await self._accepted(batch.created_at, now_ms() + 1):
            self._course.accepted(run.run_id, run.custom_id)
        if batch.state != "paused":
            self._course.states.resume(now_ms())
