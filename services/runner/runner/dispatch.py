"""Carries scheduled runs out, so many at a time, and knows which ones this process has in hand."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol
from uuid import UUID

from aiokafka import TopicPartition

from common.admission import Admitted
from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import is_bulk
from common.telemetry import Parent
from runner.journal import journal_of
from runner.limits import Flow, flow_of
from runner.recent import RecentRuns
from runner.schedule import Schedule

log = logging.getLogger(__name__)

STALL_POLL_SECONDS = 0.05


class Lane(Protocol):
    """The partition a run came from, for as long as it is assigned."""

    @property
    def closed(self) -> bool:
        """Whether the partition was taken away."""

    def finish(self, offset: int) -> None:
        """The record needs no more work."""


@dataclass(frozen=True)
class Turn:
    """A run, and the record it came in. `called_before`: the journal shows a call that must not be repeated."""

    admitted: Admitted
    lane: Lane
    topic: str
    partition: int
    offset: int
    called_before: bool = False
    parent: Parent | None = None
    """The span that the record was published in."""

    @property
    def run_id(self) -> UUID:
        """The run's id."""
        return self.admitted.request.run_id

    @property
    def journal(self) -> TopicPartition:
        """Where its end will stand."""
        return journal_of(self.topic, self.partition)

    @property
    def flow(self) -> Flow:
        """What the provider limits it as."""
        return flow_of(self.admitted.request)

    @property
    def once(self) -> bool:
        """Whether the run would rather fail than be called twice."""
        return self.admitted.request.on_unknown == "fail"


class GivenBack(Exception):
    """The run was released before it ended; its next owner carries it out."""


class Slot(Protocol):
    """A place among the runs that are carried out at once."""

    released: asyncio.Event
    """Set while the run's partition is given up: no further attempt may start here."""

    def check(self) -> None:
        """Raise `GivenBack` unless a call may start here: the run may be somebody else's after a stall."""

    async def again(self, seconds: float) -> None:
        """Leave the place to others, and return after so long or longer; raise `GivenBack` once released."""


@dataclass
class InHand:
    """A run that this process carries out, and every record it came in."""

    turns: list[Turn]
    released: asyncio.Event = field(default_factory=asyncio.Event)
    entering: asyncio.Future[None] | None = None
    """Set while the run waits for another slot."""

    in_slot: bool = True

    def release(self) -> bool:
        """Let no further attempt start; whether the next owner must hold the run until it hears of it.

        A run that must not be called twice is held even between attempts: its start is in the journal.
        """
        self.released.set()
        if self.entering is not None and not self.entering.done():
            self.entering.set_exception(GivenBack())
        return self.in_slot or self.turns[0].once


@dataclass(frozen=True)
class Waiting:
    """A turn that waits, and what to do when it comes."""

    turn: Turn
    go: Callable[[], None]
    expendable: Callable[[RunRequested], bool]

    @property
    def flow(self) -> Flow:
        """What limits it."""
        return self.turn.flow

    @property
    def deadline(self) -> int:
        """From then on it need not wait: it ends (UTC ms). At once, if it need not be called any more."""
        request = self.turn.admitted.request
        return 0 if self.expendable(request) else request.deadline

    @property
    def bulk(self) -> bool:
        """Whether interactive runs go before it."""
        return is_bulk(self.turn.topic)


class Limits(Protocol):
    """What holds calls back."""

    def wait(self, flow: Flow) -> float:
        """Return how long a call of this flow has to wait, in seconds."""

    def enter(self, flow: Flow) -> None:
        """Note that a run of the flow is being carried out."""

    def leave(self, flow: Flow) -> None:
        """Note that it is not any more."""


CarryOut = Callable[[Turn, Slot], Awaitable[None]]
"""Carries a run out to its published end, or raises `GivenBack` once it is released and no call is under way."""


class Dispatcher:
    """Takes turns from the schedule, at most `slots` at once. A turn that fails stays unfinished: it comes again."""

    def __init__(
        self,
        limits: Limits,
        carry_out: CarryOut,
        slots: int,
        stalled: Callable[[], bool],
        expendable: Callable[[RunRequested], bool],
    ) -> None:
        self._schedule: Schedule[Waiting] = Schedule(limits.wait)
        self._limits = limits
        self._carry_out = carry_out
        self.stalled = stalled
        self._expendable = expendable
        self._free = asyncio.Semaphore(slots)
        self._tasks: dict[asyncio.Task[None], InHand] = {}
        self._in_hand: dict[UUID, InHand] = {}
        self._ended = RecentRuns()

    @property
    def in_flight(self) -> int:
        """How many runs are being carried out, or wait for another attempt."""
        return len(self._tasks)

    def adopt(self, turn: Turn) -> bool:
        """Whether this process carries the run out already, or lately did: after a rebalance its record comes again.

        The record then finishes with the run.
        """
        if (mine := self._in_hand.get(turn.run_id)) is not None:
            mine.turns.append(turn)
            mine.released.clear()
            return True
        if turn.run_id in self._ended:
            turn.lane.finish(turn.offset)
            return True
        return False

    def offer(self, turn: Turn) -> None:
        """Schedule the run."""
        self._schedule.put(Waiting(turn, partial(self._begin, turn), self._expendable))

    def wake(self) -> None:
        """Look again who waits: some need not any more."""
        self._schedule.wake()

    def release(self) -> dict[TopicPartition, list[UUID]]:
        """Give every partition up: forget what waits, and return by journal the runs that are still being called."""
        self._schedule.keep(lambda waiting: not waiting.turn.lane.closed)
        calling: dict[TopicPartition, list[UUID]] = {}
        for run_id, mine in self._in_hand.items():
            if mine.release():
                calling.setdefault(mine.turns[0].journal, []).append(run_id)
        return calling

    async def run(self) -> None:
        """Dispatch until cancelled; what runs then goes on."""
        while True:
            await self._free.acquire()
            try:
                waiting = await self._next()
            except asyncio.CancelledError:
                self._free.release()
                raise
            self._limits.enter(waiting.flow)
            waiting.go()

    async def _next(self) -> Waiting:
        """Return the next turn that is still ours: after a stall nobody knows until the consumer has looked."""
        while True:
            waiting = await self._schedule.get()
            while self.stalled():  # noqa: ASYNC110 - what it waits for is the clock
                await asyncio.sleep(STALL_POLL_SECONDS)
            if not waiting.turn.lane.closed:
                return waiting

    def _begin(self, turn: Turn) -> None:
        if self.adopt(turn):  # its id came by two ways, and the other one was first
            self._vacate(turn.flow)
            return
        mine = self._in_hand[turn.run_id] = InHand([turn])
        task = asyncio.create_task(self._one(turn, mine))
        self._tasks[task] = mine
        task.add_done_callback(self._tasks.pop)

    async def _one(self, turn: Turn, mine: InHand) -> None:
        try:
            await self._carry_out(turn, _Slot(self, mine))
            self._ended.first_time(turn.run_id)
            for same in mine.turns:
                same.lane.finish(same.offset)
        except GivenBack:
            for same in mine.turns:
                if not same.lane.closed:  # the partition came back while the run was given back
                    self.offer(same)
        except Exception:
            log.exception("a run could not be completed", extra={"run_id": str(turn.run_id)})
        finally:
            del self._in_hand[turn.run_id]
            if mine.in_slot:
                self._vacate(turn.flow)

    def leave(self, mine: InHand) -> None:
        """Free the run's slot."""
        mine.in_slot = False
        self._vacate(mine.turns[0].flow)

    def _vacate(self, flow: Flow) -> None:
        self._limits.leave(flow)
        self._free.release()
        self._schedule.wake()

    async def enter(self, mine: InHand) -> None:
        """Return in a slot, when the run's turn has come again; it is scheduled before those that never had one."""
        entering = mine.entering = asyncio.get_running_loop().create_future()

        def go() -> None:
            mine.in_slot = True
            entering.set_result(None)

        self._schedule.put(Waiting(mine.turns[-1], go, self._expendable), first=True)
        await entering

    async def drain(self, seconds: float) -> list[Turn]:
        """Wait for what runs, then cut the rest short; return their turns."""
        if not self._tasks:
            return []
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        cut_short = [self._tasks[task].turns[0] for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return cut_short


class _Slot:
    """A run's slot, which it leaves while it waits for another attempt: a tenant's waits must not take others' room."""

    def __init__(self, dispatcher: Dispatcher, mine: InHand) -> None:
        self._dispatcher = dispatcher
        self._mine = mine
        self.released = mine.released

    def check(self) -> None:
        """Raise `GivenBack` after a stall, however short it is until the consumer notices."""
        if self._dispatcher.stalled():
            raise GivenBack

    async def again(self, seconds: float) -> None:
        """Leave the slot, and return in one after so long or longer; raise `GivenBack` once released."""
        self._dispatcher.leave(self._mine)
        await pause(seconds, self.released)
        await self._dispatcher.enter(self._mine)


async def pause(seconds: float, released: asyncio.Event) -> None:
    """Wait before another attempt; raise `GivenBack` as soon as that is somebody else's to make."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await released.wait()
    if released.is_set():
        raise GivenBack
