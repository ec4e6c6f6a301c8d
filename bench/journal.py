"""The completed topic, as the witness of what ended when: its records carry the broker's own time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from common.contracts.topics import COMPLETED
from common.kafka import Record, partition_reader

PARTITIONS = [TopicPartition(COMPLETED.name, partition) for partition in range(COMPLETED.partitions)]
POLL_SECONDS = 0.2

Ends = dict[TopicPartition, int]


class Journal:
    """What was appended since it was opened."""

    def __init__(self, consumer: AIOKafkaConsumer, start: Ends) -> None:
        self._consumer = consumer
        self._start = start

    async def appended(self) -> int:
        """Return how many records came so far; costs one question to the broker and reads nothing."""
        ends: Ends = await self._consumer.end_offsets(PARTITIONS)
        return sum(ends.values()) - sum(self._start.values())

    async def until(self, records: int) -> None:
        """Wait until so many have come."""
        while await self.appended() < records:
            await asyncio.sleep(POLL_SECONDS)

    async def records(self) -> AsyncIterator[Record]:
        """Yield what came, for ever."""
        for partition, offset in self._start.items():
            self._consumer.seek(partition, offset)
        while True:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    yield record

    async def first(self, count: int) -> list[Record]:
        """Return so many of the records that came, in no order across partitions."""
        taken: list[Record] = []
        async for record in self.records():
            taken.append(record)
            if len(taken) == count:
                break
        return taken


@asynccontextmanager
async def journal(kafka: str) -> AsyncIterator[Journal]:
    """Yield a witness of everything that is appended from now on."""
    async with partition_reader(kafka, PARTITIONS) as consumer:
        yield Journal(consumer, await consumer.end_offsets(PARTITIONS))
