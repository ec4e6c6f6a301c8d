"""Carries scheduled runs out, so many at a time, and knows which ones this process has in hand."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from common.admission import Admitted
from runner.recent import RecentRuns
from runner.schedule import Schedule

log = logging.getLogger(__name__)


class Lane(Protocol):
    """The partition a run came from, for as long as it is assigned."""

    @property
    def closed(self) -> bool:
        """Whether the partition was taken away."""

    def finish(self, offset: int) -> None:
        """The record needs no more work."""


@dataclass(frozen=True)
class Turn:
    """A run, and the record it came in."""

    admitted: Admitted
    lane: Lane
    topic: str
    partition: int
    offset: int

    @property
    def run_id(self) -> UUID:
        """The run's id."""
        return self.admitted.request.run_id


class Dispatcher:
    """Takes turns from the schedule, at most `slots` at once. A turn that fails stays unfinished: it comes again."""

    def __init__(self, schedule: Schedule[Turn], carry_out: Callable[[Turn], Awaitable[None]], slots: int) -> None:
        self._schedule = schedule
        self._carry_out = carry_out
        self._free = asyncio.Semaphore(slots)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_hand: dict[UUID, list[Turn]] = {}
        self._ended = RecentRuns()

    @property
    def in_flight(self) -> int:
        """How many runs are being carried out."""
        return len(self._tasks)

    def adopt(self, turn: Turn) -> bool:
        """Whether this process carries the run out already, or lately did: after a rebalance its record comes again.

        The record then finishes with the run.
        """
        if turn.run_id in self._in_hand:
            self._in_hand[turn.run_id].append(turn)
            return True
        if turn.run_id in self._ended:
            turn.lane.finish(turn.offset)
            return True
        return False

    async def run(self) -> None:
        """Dispatch until cancelled; what runs then goes on."""
        while True:
            await self._free.acquire()
            try:
                turn = await self._schedule.get()
            except asyncio.CancelledError:
                self._free.release()
                raise
            self._in_hand[turn.run_id] = [turn]
            task = asyncio.create_task(self._one(turn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _one(self, turn: Turn) -> None:
        try:
            await self._carry_out(turn)
            self._ended.first_time(turn.run_id)
            for same in self._in_hand[turn.run_id]:
                same.lane.finish(same.offset)
        except Exception:
            log.exception("a run could not be completed", extra={"run_id": str(turn.run_id)})
        finally:
            del self._in_hand[turn.run_id]
            self._free.release()

    async def drain(self, seconds: float) -> int:
        """Wait for what runs, then cut the rest short; return how many were: they will be called again."""
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return len(late)
