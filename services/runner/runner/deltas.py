"""Pieces of answers on their way to whoever waits: what arrives within a moment travels in one record."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol, Unpack
from uuid import UUID

from common.contracts.event import INSTANCE_HEADER
from common.contracts.runs_v1 import ReplyTo, RunDelta, RunRequested
from common.contracts.topics import REPLIES
from common.errors import Unavailable
from common.ids import new_id
from common.kafka import Extras

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.02
"""After a record, so long is waited for more events: fifty records a second read as smoothly as a hundred words."""

MOST_CHARACTERS = 1024 * 1024
"""Of the events in one record; a single larger event has one of its own."""

SEND_SECONDS = 10.0
"""For a record's acknowledgement. A piece that is not delivered is lost, and whoever waits is told by the gap."""


class Sender(Protocol):
    """Appends records."""

    async def send(
        self, topic: str, value: bytes | None, *, timeout: float | None = None, **extras: Unpack[Extras]
    ) -> None:
        """Return once the broker has acknowledged, or raise `Unavailable`."""


class Telling:
    """One call's answer, told while it is written. Without a `reply_to` nobody waits, and nothing is sent."""

    def __init__(self, sender: Sender, run_id: UUID, reply_to: ReplyTo | None) -> None:
        self._sender = sender
        self._run_id = run_id
        self._call_id = new_id()
        self._reply_to = reply_to
        self._waiting: list[str] = []
        self._told = 0
        self._something = asyncio.Event()
        self._over = asyncio.Event()
        self.well = False
        self.limits: Mapping[str, str] = {}

    @property
    def begun(self) -> bool:
        """Whether somebody may have seen a piece of it."""
        return self._told > 0 or bool(self._waiting)

    def heard(self, event: str) -> None:
        """Take the next event."""
        if self._reply_to is not None:
            self._waiting.append(event)
            self._something.set()

    def end(self, *, well: bool) -> None:
        """Let nothing more come; `well`: the answer is whole."""
        self.well = well
        self._over.set()
        self._something.set()

    async def send(self) -> None:
        """Send what is heard until the end, in order."""
        while not self._over.is_set():
            await self._something.wait()
            self._something.clear()
            await self._send_waiting()
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_SECONDS):
                    await self._over.wait()
        await self._send_waiting(last=self.well)

    async def _send_waiting(self, *, last: bool = False) -> None:
        while self._waiting or last:
            fitting = _fitting(self._waiting)
            events, self._waiting = self._waiting[:fitting], self._waiting[fitting:]
            await self._record(events, last=last and not self._waiting)
            last = last and bool(self._waiting)

    async def _record(self, events: list[str], *, last: bool) -> None:
        assert self._reply_to is not None
        limits = dict(self.limits) if self._told == 0 and self.limits else None
        delta = RunDelta(
            run_id=self._run_id, call_id=self._call_id, first=self._told, events=events, last=last, limits=limits
        )
        self._told += len(events)
        await self._sender.send(
            REPLIES.name,
            delta.encode(),
            key=self._run_id.bytes,
            headers=[*delta.headers(), (INSTANCE_HEADER, self._reply_to.instance.encode())],
            partition=self._reply_to.partition,
            timeout=SEND_SECONDS,
        )


class Deltas:
    """Tells answers while they are written."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @asynccontextmanager
    async def telling(self, run: RunRequested) -> AsyncIterator[Telling]:
        """Yield what takes the events of one call; at the end of the block all of them have been sent."""
        own = run.reply_to is not None and run.reply_to.topic is not None  # those take completions alone
        reply_to = None if own or run.batch_id is not None else run.reply_to
        telling = Telling(self._sender, run.run_id, reply_to)
        if reply_to is None:
            yield telling
            return
        sending = asyncio.create_task(telling.send())
        well = False
        try:
            yield telling
            well = True
        except asyncio.CancelledError:  # it is cut short with its run
            sending.cancel()
            raise
        finally:
            telling.end(well=well)
            await _sent(sending, run.run_id)


async def _sent(sending: asyncio.Task[None], run_id: UUID) -> None:
    """Return when everything is sent, or nothing more ever will be."""
    try:
        await asyncio.wait({sending})
        if not sending.cancelled():
            sending.result()
    except Unavailable as error:
        log.warning("a piece of an answer was not delivered: %s", error.message, extra={"run_id": str(run_id)})


def _fitting(events: list[str]) -> int:
    """Return how many of the events go into one record: at least one."""
    characters = 0
    for count, event in enumerate(events):
        characters += len(event)
        if characters > MOST_CHARACTERS and count:
            return count
    return len(events)
