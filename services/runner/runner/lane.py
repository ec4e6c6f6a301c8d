"""One partition of one assignment: from its records to scheduled runs. It dies with the assignment."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from common.admission import Admission, Admitted, Rejected
from common.ids import now_ms
from common.kafka import Record
from runner.dispatch import Turn
from runner.journal import Past
from runner.partitions import Offsets
from runner.recent import RecentRuns

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0

Reject = Callable[[Record, str], Awaitable[None]]


class Reading(Protocol):
    """A partition's journal, read up to some point."""

    past: Past

    async def go_on(self) -> None:
        """Read what comes next, if something comes soon."""


class Journal(Protocol):
    """Where the ends of runs stand."""

    def reading(self, partition: int, appended_at: int) -> AbstractAsyncContextManager[Reading]:
        """Open a partition's journal, read since the append time of its oldest unfinished record."""


class Runs(Protocol):
    """Where runs go."""

    def adopt(self, turn: Turn) -> bool:
        """Whether this process carries the run out already; the record then finishes with it."""

    def offer(self, turn: Turn) -> None:
        """Schedule the run."""


class Lane:
    """Judges a partition's records in order, once its journal is read, and offers those that are runs."""

    def __init__(self, admission: Admission, journal: Journal, runs: Runs, reject: Reject) -> None:
        self._admission = admission
        self._journal = journal
        self._runs = runs
        self._reject = reject
        self._inbox: asyncio.Queue[Record] = asyncio.Queue()
        self._sizes: dict[int, int] = {}
        self._recent = RecentRuns()
        self._past = Past()
        self._held: set[UUID] = set()
        self._waiting: dict[UUID, Turn] = {}
        self.offsets = Offsets()
        self.unfinished_bytes = 0
        self.closed = False
        self._tasks = [asyncio.create_task(self._work())]

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
        for task in self._tasks:
            task.cancel()

    async def _work(self) -> None:
        """Read the journal, then judge record after record."""
        first = await self._inbox.get()
        self._past = await self._read_journal(first)
        self._recent = RecentRuns(self._past.ended)
        self._held = set(self._past.held)
        if self._held:
            self._tasks.append(asyncio.create_task(self._follow(first)))
        await self._judge(first)
        while True:
            await self._judge(await self._inbox.get())

    async def _read_journal(self, first: Record) -> Past:
        """Return what the journal tells; without it nothing is dispatched, so a broker that is away is waited for."""
        while True:
            try:
                async with self._journal.reading(first.partition, first.timestamp) as journal:
                    return journal.past
            except Exception:
                log.exception("the journal could not be read; trying again", extra={"partition": first.partition})
                await asyncio.sleep(RETRY_SECONDS)

    async def _judge(self, record: Record) -> None:
        match self._admission.judge(record.value, record.headers, record.timestamp):
            case Admitted() as admitted if self._recent.first_time(admitted.request.run_id):
                self._take(Turn(admitted, self, record.topic, record.partition, record.offset))
            case Rejected(reason):
                await self._reject(record, reason)
                self.finish(record.offset)
            case _:  # never accepted, or a repetition
                self.finish(record.offset)

    def _take(self, turn: Turn) -> None:
        if self._runs.adopt(turn):
            return
        if turn.run_id in self._held:
            self._waiting[turn.run_id] = turn
        else:
            self._offer(turn)

    def _offer(self, turn: Turn) -> None:
        self._runs.offer(replace(turn, called_before=turn.run_id in self._past.started))

    async def _follow(self, first: Record) -> None:
        """Wait for the ends of the runs that another runner still calls, as the journal tells them."""
        while self._held:
            try:
                async with self._journal.reading(first.partition, first.timestamp) as journal:
                    self._past = journal.past
                    while self._held:
                        self._settle(journal.past)
                        await journal.go_on()
            except Exception:
                log.exception("the journal could not be followed; trying again", extra={"partition": first.partition})
                await asyncio.sleep(RETRY_SECONDS)

    def _settle(self, past: Past) -> None:
        """Finish held runs that ended, and offer those that were given back or whose time has passed."""
        for run_id in list(self._held):
            if run_id in past.ended:
                self._held.remove(run_id)
                self._recent.first_time(run_id)
                if turn := self._waiting.pop(run_id, None):
                    self.finish(turn.offset)
            elif past.held.get(run_id, 0) <= now_ms():
                self._held.remove(run_id)
                if turn := self._waiting.pop(run_id, None):
                    self._offer(turn)
