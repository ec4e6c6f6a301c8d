"""News of one partition, read for as long as the process lives, whatever becomes of the broker."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition

from common.errors import Unavailable
from common.kafka import Record, SilenceWatch, partition_reader

log = logging.getLogger(__name__)

IDLE_MS = 1000
"""After this long without a record the broker is asked whether there is one."""

RESTART_SECONDS = 0.5


class News:
    """Hands on every record that is appended once `start` has returned, none twice; if `whole`, those before it too."""

    def __init__(
        self, bootstrap: str, partition: TopicPartition, deliver: Callable[[Record], None], *, whole: bool = False
    ) -> None:
        self._bootstrap = bootstrap
        self._partition = partition
        self._deliver = deliver
        self._whole = whole
        self._next_offset: int | None = None
        self._reading = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once the place is known from which on everything is read; if `whole`, once that is handed on."""
        self._task = asyncio.create_task(self._read_for_ever(), name=f"news of {self._partition.topic}")
        await self._reading.wait()

    async def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def check(self) -> None:
        """Raise `Unavailable` while nothing is read."""
        if not self._reading.is_set():
            raise Unavailable(f"the message broker does not deliver {self._partition.topic}", retry_after=2)

    async def _read_for_ever(self) -> None:
        """Read on with a fresh consumer whenever one fails."""
        while True:
            try:
                await self._read()
            except Exception:  # whatever it was, the news must be read again
                log.warning("the reader of %s failed and starts again", self._partition.topic, exc_info=True)
            finally:
                self._reading.clear()
            await asyncio.sleep(RESTART_SECONDS)

    async def _read(self) -> None:
        async with partition_reader(self._bootstrap, [self._partition]) as consumer:
            await self._resume(consumer)
            past = await consumer.end_offsets([self._partition]) if self._whole else {}
            watch = SilenceWatch(consumer)
            while True:
                if await consumer.position(self._partition) >= past.get(self._partition, 0):
                    self._reading.set()
                found = await consumer.getmany(self._partition, timeout_ms=IDLE_MS)
                for record in found.get(self._partition, []):
                    self._next_offset = record.offset + 1
                    self._deliver(record)
                await watch.note(delivered=bool(found))

    async def _resume(self, consumer: AIOKafkaConsumer) -> None:
        """Go on where the last consumer ended, so that nothing is lost between the two."""
        if self._next_offset is not None:
            consumer.seek(self._partition, self._next_offset)
        elif self._whole:
            await consumer.seek_to_beginning(self._partition)
        else:
            await consumer.seek_to_end(self._partition)
            self._next_offset = await consumer.position(self._partition)
