"""Carries scheduled runs out, so many at a time, and knows which ones this process has in hand."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from common.admission import Admitted
from common.contracts.topics import BATCHED
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

    @property
    def run_id(self) -> UUID:
        """The run's id."""
        return self.admitted.request.run_id

    @property
    def once(self) -> bool:
        """Whether the run would rather fail than be called twice."""
        return self.admitted.request.on_unknown == "fail"


@dataclass
class InHand:
    """A run that this process carries out, and every record it came in."""

    turns: list[Turn]
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while its partition is given up: no further attempt may start here."""


class GivenBack(Exception):
    """The run was released before it ended; its next owner carries it out."""


CarryOut = Callable[[Turn, asyncio.Event], Awaitable[None]]
"""Carries a run out to its published end, or raises `GivenBack` once the event is set and no call is under way."""


class Dispatcher:
    """Takes turns from the schedule, at most `slots` at once. A turn that fails stays unfinished: it comes again."""

    def __init__(self, schedule: Schedule[Turn], carry_out: CarryOut, slots: int, stalled: Callable[[], bool]) -> None:
        self._schedule = schedule
        self._carry_out = carry_out
        self._stalled = stalled
        self._free = asyncio.Semaphore(slots)
        self._tasks: dict[asyncio.Task[None], Turn] = {}
        self._in_hand: dict[UUID, InHand] = {}
        self._ended = RecentRuns()

    @property
    def in_flight(self) -> int:
        """How many runs are being carried out."""
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
        self._schedule.put(turn.admitted.request.workspace_id, turn, bulk=turn.topic == BATCHED.name)

    def release(self) -> dict[int, list[UUID]]:
        """Give every partition up: forget what waits, and return by partition the runs that are still being called."""
        self._schedule.keep(lambda turn: not turn.lane.closed)
        calling: dict[int, list[UUID]] = {}
        for run_id, mine in self._in_hand.items():
            mine.released.set()
            calling.setdefault(mine.turns[0].partition, []).append(run_id)
        return calling

    async def run(self) -> None:
        """Dispatch until cancelled; what runs then goes on."""
        while True:
            await self._free.acquire()
            try:
                turn = await self._next()
            except asyncio.CancelledError:
                self._free.release()
                raise
            self._in_hand[turn.run_id] = InHand([turn])
            task = asyncio.create_task(self._one(turn, self._in_hand[turn.run_id]))
            self._tasks[task] = turn
            task.add_done_callback(self._tasks.pop)

    async def _next(self) -> Turn:
        """Return the next turn that is still ours: after a stall nobody knows until the consumer has looked."""
        while True:
            turn = await self._schedule.get()
            while self._stalled():  # noqa: ASYNC110 - what it waits for is the clock
                await asyncio.sleep(STALL_POLL_SECONDS)
            if not turn.lane.closed:
                return turn

    async def _one(self, turn: Turn, mine: InHand) -> None:
        try:
            await self._carry_out(turn, mine.released)
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
            self._free.release()

    async def drain(self, seconds: float) -> list[Turn]:
        """Wait for what runs, then cut the rest short; return their turns."""
        if not self._tasks:
            return []
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        cut_short = [self._tasks[task] for task in late]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return cut_short
