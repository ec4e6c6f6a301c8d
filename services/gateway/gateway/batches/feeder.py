"""Feeding one batch: rows go to the log as fast as they end, until none is left or something says stop."""

import asyncio
import logging
from dataclasses import dataclass

from common.contracts.runs_v1 import RunCompleted
from common.errors import TooLarge, Unavailable
from common.ids import now_ms
from common.kafka import OutcomeUnknown
from common.objects import Objects
from common.providers import Providers
from gateway import metrics
from gateway.batches.batch import Batch
from gateway.batches.course import Course
from gateway.batches.files import Files
from gateway.batches.lease import Lease
from gateway.batches.orders import Orders
from gateway.batches.rows import LineFault, Request, RowReader, pinned
from gateway.batches.sending import Sending
from gateway.batches.states import RowState
from gateway.batches.truth import BatchLog, Truth
from gateway.publish import CancelledLog
from gateway.quota.quota import Quota

log = logging.getLogger(__name__)

AT_ONCE = 100
BYTES_AT_ONCE = 4 * 1024 * 1024
IDLE_SECONDS = 0.05
PAUSED_SECONDS = 0.2
LOST_MS = 15 * 60_000
"""After the deadline no call starts; by then the longest has ended (600 s, and what the runner adds)."""


@dataclass(frozen=True)
class Feeding:
    """What feeding needs from elsewhere."""

    files: Files
    sending: Sending
    cancelled: CancelledLog
    analytics: BatchLog
    providers: Providers
    objects: Objects
    orders: Orders
    quota: Quota


class Feeder:
    """Feeds one batch for as long as its lease holds."""

    def __init__(self, lease: Lease, course: Course, feeding: Feeding) -> None:
        self.stopping = False
        """Set where this replica goes: what is under way is another one's to follow."""

        self._lease = lease
        self._course = course
        self._feeding = feeding
        self._reader: RowReader = pinned(lease.batch, feeding.providers)
        self._truth = Truth(lease, course, feeding.analytics)
        self._paused = lease.batch.state == "paused"
        self._cancel_told = False

    async def run(self, *, after_crash: bool) -> bool:
        """Return True once every row is final, False if told to stop before."""
        with self._feeding.sending.replies.of_batch(self._lease.batch.id, self._told):
            if after_crash:
                await self._truth.recover()
            self._lease.told = self._course.stored
            async with self._truth.followed() as check:
                while not self.stopping and not self._over():
                    check()
                    await self._step()
        return not self.stopping

    async def _step(self) -> None:
        """Do what the moment asks for, then let rows end: they are replaced by the dozen, not one by one."""
        await self._heed()
        if self._lease.batch.state != "in_progress":
            await asyncio.sleep(PAUSED_SECONDS)
        elif await self._feed() < AT_ONCE:
            await asyncio.sleep(IDLE_SECONDS)

    def _over(self) -> bool:
        return not self._course.states.open and not self._course.budget.unconfirmed

    async def _heed(self) -> None:
        """Do as the batch's owner, its deadline or a provider says."""
        batch, states, now = self._lease.batch, self._course.states, now_ms()
        if batch.state == "cancelling":
            await self._cancel(batch)
        elif now >= batch.deadline:
            states.give_up_all(RowState.EXPIRED)
        elif batch.state == "paused":
            self._paused = True
        elif self._paused:
            self._resume(now)
        if now >= batch.deadline + LOST_MS:
            states.lose_all()
        await self._pause_if_refused()

    def _resume(self, now: int) -> None:
        self._paused = False
        self._course.refusal = None
        self._course.states.resume(now)

    async def _cancel(self, batch: Batch) -> None:
        self._course.states.give_up_all(RowState.CANCELLED)
        if not self._cancel_told:
            try:
                await self._feeding.cancelled.append(batch.id, batch.workspace_id, batch.cancelling_at or now_ms())
                self._cancel_told = True
            except Unavailable as error:
                log.warning("runners are not told of a cancelled batch yet: %s", error.message)

    async def _pause_if_refused(self) -> None:
        """Pause once: what else is refused until somebody resumes the batch was sent before that."""
        refusal, self._course.refusal = self._course.refusal, None
        if refusal is None or self._paused:
            return
        self._paused = await self._lease.advance(("in_progress",), **refusal.paused())

    async def _feed(self) -> int:
        """Send the next rows and return how many were sent."""
        publish_by = self._feeding.sending.publish_by(self._lease.publish_by)
        rows = await self._allowed_rows() if publish_by is not None else []
        if not rows or publish_by is None:
            return 0
        try:
            lines = await self._feeding.files.lines(self._lease.batch.file_id, *self._course.index.spans(rows))
        except BaseException:
            for row in rows:
                self._course.unsent(row, now_ms())
            raise
        sends = [self._send(row, line, publish_by) for row, line in zip(rows, lines, strict=True)]
        return sum(await asyncio.gather(*sends))

    async def _allowed_rows(self) -> list[int]:
        """Take what is to be fed now off the list, as far as the workspace's rate allows."""
        workspace_id, room = self._lease.batch.workspace_id, max(0, min(AT_ONCE, self._course.room()))
        allowed = await self._feeding.quota.share(workspace_id, room)
        rows = self._next_rows(allowed)
        self._feeding.quota.give_back(workspace_id, allowed - len(rows))
        return rows

    def _next_rows(self, room: int) -> list[int]:
        """Take so many rows off the list."""
        rows: list[int] = []
        size, now = 0, now_ms()
        index = self._course.index
        while len(rows) < room and size < BYTES_AT_ONCE and (row := self._course.next(now)) is not None:
            self._course.start(row, now)
            size += index.ends[row] - index.starts[row]
            rows.append(row)
        return rows

    async def _send(self, row: int, line: bytes, publish_by: int) -> bool:
        """Send a row; return whether the broker has it."""
        try:
            request = await self._reader.read(line)
            await self._publish(row, request, publish_by)
        except OutcomeUnknown:
            self._course.states.unsure(row, publish_by)
            return False
        except Unavailable:
            self._course.unsent(row, now_ms())
            return False
        except (LineFault, TooLarge) as error:  # validation lets none of these through, unless a provider was removed
            log.error("a row cannot be fed: %s", error)  # noqa: TRY400 - the reason is enough
            self._course.give_up(row, now_ms())
            return False
        metrics.FED.inc()
        return True

    async def _publish(self, row: int, request: Request, publish_by: int) -> None:
        run_id = self._course.run_id(row, request.custom_id)
        flight = self._course.states.flights[row]
        await self._feeding.sending.send(self._lease.batch, request, run_id, flight.accepted_at, publish_by)

    def _told(self, run: RunCompleted) -> None:
        self._course.told(run, now_ms())
