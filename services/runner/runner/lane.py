"""One partition of one assignment: from its records to scheduled runs. It dies with the assignment."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from common.admission import Admission, Admitted, Rejected
from common.kafka import Record
from runner.dispatch import Turn
from runner.journal import Journal
from runner.partitions import Offsets
from runner.recent import RecentRuns

log = logging.getLogger(__name__)

Offer = Callable[[Turn], None]
Reject = Callable[[Record, str], Awaitable[None]]

RETRY_SECONDS = 1.0


class Lane:
    """Judges a partition's records in order, once its journal is read, and offers those that are runs."""

    def __init__(self, admission: Admission, journal: Journal, offer: Offer, reject: Reject) -> None:
        self._admission = admission
        self._journal = journal
        self._offer = offer
        self._reject = reject
        self._inbox: asyncio.Queue[Record] = asyncio.Queue()
        self._sizes: dict[int, int] = {}
        self.offsets = Offsets()
        self.unfinished_bytes = 0
        self.closed = False
        self._task = asyncio.create_task(self._work())

    @property
    def unfinished(self) -> int:
        """How many records are begun and not finished."""
        return len(self._sizes)

    def receive(self, record: Record) -> None:
        """Take a record in; one that was delivered before is ignored."""
        if self.offsets.begin(record.offset):
            self._sizes[record.offset] = len(record.value or b"")
            self.unfinished_bytes += self._sizes[record.offset]
            self._inbox.put_nowait(record)

    def finish(self, offset: int) -> None:
        """The record needs no more work."""
        self.offsets.finish(offset)
        self.unfinished_bytes -= self._sizes.pop(offset)

    def close(self) -> None:
        """The partition was taken away: judge nothing more."""
        self.closed = True
        self._task.cancel()

    async def _work(self) -> None:
        try:
            await self._judge_all()
        except Exception:
            log.exception("a fault of ours stopped this partition; its offset stays where it is")
            raise

    async def _judge_all(self) -> None:
        record = await self._inbox.get()
        recent = RecentRuns(await self._ended_since(record))
        while True:
            await self._judge(record, recent)
            record = await self._inbox.get()

    async def _ended_since(self, first: Record) -> set[UUID]:
        """Read the journal; without it nothing is dispatched, so a broker that is away is waited for."""
        while True:
            try:
                return await self._journal.ended_since(first.partition, first.timestamp)
            except Exception:
                log.exception("the journal could not be read; trying again", extra={"partition": first.partition})
                await asyncio.sleep(RETRY_SECONDS)

    async def _judge(self, record: Record, recent: RecentRuns) -> None:
        match self._admission.judge(record.value, record.headers, record.timestamp):
            case Admitted() as admitted if recent.first_time(admitted.request.run_id):
                self._offer(Turn(admitted, self, record.topic, record.partition, record.offset))
            case Rejected(reason):
                await self._reject(record, reason)
                self.finish(record.offset)
            case _:  # never accepted, or a repetition
                self.finish(record.offset)
