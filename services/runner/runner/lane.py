"""One partition of one assignment: from its records to scheduled runs. It dies with the assignment."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from aiokafka import TopicPartition

from common.admission import Admission, Admitted, NeverAccepted, Rejected
from common.contracts.topics import is_bulk
from common.ids import now_ms
from common.kafka import Record
from common.telemetry import parent_of
from runner.dispatch import Turn
from runner.halt import Halted
from runner.journal import Past, journal_of
from runner.parking import Parking
from runner.partitions import Offsets
from runner.recent import RecentRuns

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0

MOST_WAITING = 1000
"""Runs of one workspace in hand from one interactive partition: what is more would make all others behind it wait.
Bulk is parked instead."""

Reject = Callable[[Record, str], Awaitable[None]]
"""Sets a record aside, with the reason."""

Refuse = Callable[[Turn], Awaitable[None]]
"""Ends a run that its workspace has no room for; returns once that is known."""


class Reading(Protocol):
    """A partition's journal, read up to some point."""

    past: Past

    async def go_on(self) -> None:
        """Read what comes next, if something comes soon."""


class Journal(Protocol):
    """Where the ends of runs stand."""

    def reading(self, journal: TopicPartition, appended_at: int) -> AbstractAsyncContextManager[Reading]:
        """Open a partition's journal, read since the append time of its oldest unfinished record."""


class Gate(Protocol):
    """Stops everything when nothing that is read makes sense any more."""

    def check(self) -> None:
        """Raise `Halted` once that has happened."""

    def passed(self) -> None:
        """A record was a run."""

    def failed(self, workspace: UUID) -> None:
        """A record that is no run carried a valid grant for this workspace; raise `Halted` if it is one too many."""


class Runs(Protocol):
    """Where runs go."""

    def adopt(self, turn: Turn) -> bool:
        """Whether this process carries the run out already; the record then finishes with it."""

    def offer(self, turn: Turn) -> None:
        """Schedule the run."""


class Lane:
    """Judges a partition's records in order, once its journal is read, and offers those that are runs."""

    def __init__(
        self,
        admission: Admission,
        gate: Gate,
        journal: Journal,
        runs: Runs,
        reject: Reject,
        refuse: Refuse,
        parking: Parking,
    ) -> None:
        self._admission = admission
        self._gate = gate
        self._journal = journal
        self._runs = runs
        self._reject = reject
        self._refuse = refuse
        self._parking = parking
        self._inbox: asyncio.Queue[Record] = asyncio.Queue()
        self._oldest: Record | None = None
        """The first record that was delivered, parked or not: older ends than its run's need not be known."""
        self._sizes: dict[int, int] = {}
        self._owners: dict[int, UUID] = {}
        self._in_hand: Counter[UUID] = Counter()
        self._recent = RecentRuns()
        self._past = Past()
        self._held: set[UUID] = set()
        self._waiting: dict[UUID, Turn] = {}
        self.offsets = Offsets()
        self.position = 0
        self.unfinished_bytes = 0
        self.closed = False
        self._tasks = [asyncio.create_task(self._work())]

    @property
    def unfinished(self) -> int:
        """How many records are taken in and not finished."""
        return len(self._sizes)

    @property
    def parked(self) -> int:
        """How many records are left in the log for later."""
        return self._parking.count

    @property
    def reads_on(self) -> bool:
        """Whether what is read next was never read before."""
        return self.position >= self.offsets.next

    def receive(self, record: Record) -> None:
        """Take a record in, or leave it in the log for later; one that was taken in before is ignored."""
        self._oldest = self._oldest or record
        self.position = record.offset + 1
        if self._comes_in(record):
            self._sizes[record.offset] = len(record.value or b"")
            self.unfinished_bytes += self._sizes[record.offset]
            self._inbox.put_nowait(record)

    def _comes_in(self, record: Record) -> bool:
        """Park a bulk record that exceeds its workspace's share. By its grant: one without is rejected at once."""
        new = self.offsets.begin(record.offset)
        workspace = self._admission.granted_to(record.headers) if is_bulk(record.topic) else None
        if workspace is None:
            return new
        return (new or self._parking.parked(workspace, record.offset)) and self._parking.admit(workspace, record.offset)

    def check(self) -> None:
        """Raise what ended the judging, where something did: no record of the partition would ever be judged again."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    def turn(self, now: float, *, full: bool) -> int | None:
        """Return the offset to read at next where that is not the one after the last (`now`: in seconds)."""
        offset = self._parking.turn(self.position, self.offsets.next, now, full=full)
        if offset is not None:
            self.position = offset
        return offset

    def finish(self, offset: int) -> None:
        """The record needs no more work."""
        self.offsets.finish(offset)
        self._parking.finish(offset)
        self.unfinished_bytes -= self._sizes.pop(offset)
        if (workspace := self._owners.pop(offset, None)) is not None:
            self._in_hand[workspace] -= 1

    def close(self) -> None:
        """The partition was taken away: judge nothing more."""
        self.closed = True
        for task in self._tasks:
            task.cancel()

    async def _work(self) -> None:
        """Read the journal, then judge record after record."""
        first = await self._inbox.get()
        oldest = self._oldest or first
        self._past = await self._read_journal(oldest)
        self._recent = RecentRuns(self._past.ended)
        self._held = set(self._past.held)
        if self._held:
            self._tasks.append(asyncio.create_task(self._follow(oldest)))
        with suppress(Halted):
            await self._judge(first)
            while True:
                await self._judge(await self._inbox.get())

    async def _read_journal(self, oldest: Record) -> Past:
        """Return what the journal tells; without it nothing is dispatched, so a broker that is away is waited for."""
        while True:
            try:
                async with self._journal.reading(
                    journal_of(oldest.topic, oldest.partition), oldest.timestamp
                ) as journal:
                    return journal.past
            except Exception:
                log.exception("the journal could not be read; trying again", extra={"partition": oldest.partition})
                await asyncio.sleep(RETRY_SECONDS)

    async def _judge(self, record: Record) -> None:
        self._gate.check()
        match self._admission.judge(record.value, record.headers, record.timestamp):
            case Admitted() as admitted:
                self._gate.passed()
                parent = parent_of(record.headers)
                await self._take(Turn(admitted, self, record.topic, record.partition, record.offset, parent=parent))
            case Rejected(reason, workspace_id):
                if workspace_id is not None:
                    self._gate.failed(workspace_id)
                await self._reject(record, reason)
                self.finish(record.offset)
            case NeverAccepted():
                self.finish(record.offset)

    async def _take(self, turn: Turn) -> None:
        if not self._recent.first_time(turn.run_id):  # a repetition
            self.finish(turn.offset)
        elif self._runs.adopt(turn):
            return
        elif turn.run_id in self._held:
            self._waiting[turn.run_id] = turn
        elif self._has_room(turn) or turn.run_id in self._past.started:  # that one was called: it is no excess
            self._offer(turn)
        else:
            await self._refuse(turn)
            self.finish(turn.offset)

    def _has_room(self, turn: Turn) -> bool:
        """Count an interactive run as in hand, unless its workspace has enough of them."""
        if is_bulk(turn.topic):
            return True
        workspace = turn.admitted.request.workspace_id
        if self._in_hand[workspace] >= MOST_WAITING:
            return False
        self._owners[turn.offset] = workspace
        self._in_hand[workspace] += 1
        return True

    def _offer(self, turn: Turn) -> None:
        self._runs.offer(replace(turn, called_before=turn.run_id in self._past.started))

    async def _follow(self, oldest: Record) -> None:
        """Wait for the ends of the runs that another runner still calls, as the journal tells them."""
        while self._held:
            try:
                async with self._journal.reading(
                    journal_of(oldest.topic, oldest.partition), oldest.timestamp
                ) as journal:
                    self._past = journal.past
                    while self._held:
                        self._settle(journal.past)
                        await journal.go_on()
            except Exception:
                log.exception("the journal could not be followed; trying again", extra={"partition": oldest.partition})
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
