"""Replies: how a finished run finds the caller who waits for it, without any coordination between replicas."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord, TopicPartition
from pydantic import ValidationError

from common.contracts.event import INSTANCE_HEADER
from common.contracts.runs_v1 import ReplyTo, RunCompleted
from common.contracts.topics import REPLIES
from common.errors import Unavailable
from common.ids import new_id
from common.kafka import SilenceWatch, partition_news

log = logging.getLogger(__name__)

IDLE_MS = 1000
"""After this long without a record the broker is asked whether there is one."""

RESTART_SECONDS = 0.5

Reply = asyncio.Future[RunCompleted]


class Replies:
    """Reads one partition of `runs.replies.v1`, and hands each completion to those who wait for it.

    Several replicas may share the partition: each skips what does not carry its own instance.
    """

    def __init__(self, bootstrap: str, partition: int) -> None:
        self.reply_to = ReplyTo(partition=partition, instance=new_id().hex)
        self._instance = self.reply_to.instance.encode()
        self._bootstrap = bootstrap
        self._partition = TopicPartition(REPLIES.name, partition)
        self._next_offset: int | None = None
        self._waiting: dict[UUID, list[Reply]] = {}
        self._reading = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once replies are read."""
        self._task = asyncio.create_task(self._read_for_ever(), name="replies")
        await self._reading.wait()

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def check(self) -> None:
        """Raise `Unavailable` while no replies are read."""
        if not self._reading.is_set():
            raise Unavailable("the message broker does not deliver replies", retry_after=2)

    @contextmanager
    def expect(self, run_id: UUID) -> Iterator[Reply]:
        """Yield a future of the run's completion. Begin to expect before the run is published."""
        reply: Reply = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(run_id, [])
        waiting.append(reply)
        try:
            yield reply
        finally:
            waiting.remove(reply)
            if not waiting:
                self._waiting.pop(run_id, None)

    async def _read_for_ever(self) -> None:
        """Read on with a fresh consumer whenever one fails: a silent replica would let every caller time out."""
        while True:
            try:
                await self._read()
            except Exception:  # whatever it was, replies must be read again
                log.warning("the reader of replies failed and starts again", exc_info=True)
            finally:
                self._reading.clear()
            await asyncio.sleep(RESTART_SECONDS)

    async def _read(self) -> None:
        async with partition_news(self._bootstrap, REPLIES.name, [self._partition.partition]) as consumer:
            await self._resume(consumer)
            self._reading.set()
            watch = SilenceWatch(consumer)
            while True:
                found = await consumer.getmany(self._partition, timeout_ms=IDLE_MS)
                for record in found.get(self._partition, []):
                    self._deliver(record)
                await watch.note(delivered=bool(found))

    async def _resume(self, consumer: Any) -> None:
        """Go on where the last consumer ended, so that no reply is lost between the two."""
        if self._next_offset is None:
            self._next_offset = await consumer.position(self._partition)
        else:
            consumer.seek(self._partition, self._next_offset)

    def _deliver(self, record: ConsumerRecord[bytes, bytes]) -> None:
        self._next_offset = record.offset + 1
        if (INSTANCE_HEADER, self._instance) not in record.headers:
            return
        try:
            completed = RunCompleted.model_validate_json(record.value or b"")
        except ValidationError:
            # Without the error itself: it quotes the reply, which holds somebody's output.
            log.warning("a reply cannot be read", extra={"offset": record.offset})
            return
        for reply in self._waiting.get(completed.run_id, ()):
            if not reply.done():
                reply.set_result(completed)
