"""Answers as they are written: what the runner tells of a run becomes pieces for its caller, none lost unnoticed."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from common.contracts.runs_v1 import RunCompleted, RunDelta
from common.errors import StreamBroken, TallyrunError
from gateway import metrics
from gateway.claims import Ticket
from gateway.replies import Pieces
from gateway.results import End, check_succeeded
from gateway.runs import Ask, Runs
from gateway.tokens import Caller


@dataclass(frozen=True)
class Events:
    """The provider's own events, as they came; the first with what it said of its limits."""

    texts: list[str]
    limits: Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """The answer is whole. `told`: all of it was in the events; otherwise there were none."""

    end: End
    told: bool


@dataclass(frozen=True)
class Silence:
    """Nothing came for a while, and the run is still under way."""


Piece = Events | Ended | Silence


class Online:
    """Follows runs for callers who read along. Times are in seconds."""

    def __init__(self, runs: Runs, wait_seconds: float, silence_seconds: float) -> None:
        self._runs = runs
        self._wait_seconds = wait_seconds
        self._silence_seconds = silence_seconds

    def pieces(self, caller: Caller, ask: Ask, ticket: Ticket) -> AsyncGenerator[Piece]:
        """Yield the answer while it is written, its end the last; raise the error that it ended with.

        `StreamBroken` where a piece was lost; `StillRunning` after the wait without one. A request that is sent again
        gets its first one's answer, whole.
        """
        return (self._repeated if ticket.repeated else self._counted)(caller, ask, ticket)

    async def _counted(self, caller: Caller, ask: Ask, ticket: Ticket) -> AsyncGenerator[Piece]:
        try:
            async with self._runs.followed(caller, ask, ticket) as told, aclosing(self._follow(told, ticket)) as pieces:
                async for piece in pieces:
                    yield piece
        except TallyrunError as error:
            metrics.ENDED.labels(error.code).inc()
            raise
        metrics.ENDED.labels("succeeded").inc()

    async def _follow(self, told: Pieces, ticket: Ticket) -> AsyncGenerator[Piece]:
        track, quiet = _Track(ticket.run_id), 0.0
        while (piece := await self._next(told)) is None or isinstance(piece, RunDelta):
            quiet = quiet + self._silence_seconds if piece is None else 0.0
            if quiet >= self._wait_seconds:
                raise self._runs.still_running(ticket)
            if piece is None:
                yield Silence()
            elif events := track.next(piece):
                yield Events(events, piece.limits or {})
        yield track.end(piece)

    async def _next(self, told: Pieces) -> RunDelta | RunCompleted | None:
        """Return what is told next, or None where nothing is for a while."""
        try:
            async with asyncio.timeout(self._silence_seconds):
                return await told.get()
        except TimeoutError:
            return None

    async def _repeated(self, caller: Caller, ask: Ask, ticket: Ticket) -> AsyncGenerator[Piece]:
        ending = asyncio.create_task(self._runs.run(caller, ask, ticket))
        try:
            while not ending.done():
                await asyncio.wait({ending}, timeout=self._silence_seconds)
                if not ending.done():
                    yield Silence()
            yield Ended(ending.result(), told=False)
        finally:
            ending.cancel()


class _Track:
    """What has come of one call's answer."""

    def __init__(self, run_id: UUID) -> None:
        self._run_id = str(run_id)
        self._call_id: UUID | None = None
        self._next = 0
        self._whole = False

    def next(self, delta: RunDelta) -> list[str]:
        """Return the events that are new; raise where some are missing, or are of another call."""
        self._call_id = self._call_id or delta.call_id
        if delta.call_id != self._call_id:
            raise self._broken("its runner was lost while it was being written, and the run is carried out once more")
        if delta.first > self._next:
            raise self._broken("a piece of it was lost on its way")
        events = delta.events[self._next - delta.first :]
        self._next += len(events)
        self._whole = delta.last
        return events

    def end(self, run: RunCompleted) -> Ended:
        """Return the end; raise the run's error, or where it is not the end of what came."""
        check_succeeded(run)
        if self._next and not self._whole:
            raise self._broken("a piece of it was lost on its way")
        return Ended(run, told=self._next > 0)

    def _broken(self, why: str) -> StreamBroken:
        message = f"the answer broke off: {why}; the whole of it will be at /api/runs/{self._run_id}"
        return StreamBroken(message, run_id=self._run_id)
