"""The completed topic as journal (R2): which runs of a partition have ended, whoever carried them out."""

from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from common.contracts.event import TYPE_HEADER
from common.contracts.runs_v1 import RunCompleted
from common.contracts.topics import COMPLETED
from common.kafka import FETCH_LIMITS, Record

MARGIN_MS = 60_000
"""A completion is never older than its request; the margin is for brokers whose clocks differ."""


class Journal:
    """Reads the completed topic from a point in time to its present end."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    async def ended_since(self, partition: int, appended_at: int) -> set[UUID]:
        """Return the runs that ended in this partition since the append time (UTC ms) of the oldest unfinished one."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False, **FETCH_LIMITS)
        await consumer.start()
        try:
            return await _read(consumer, TopicPartition(COMPLETED.name, partition), appended_at - MARGIN_MS)
        finally:
            await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, journal: TopicPartition, since: int) -> set[UUID]:
    consumer.assign([journal])
    first = (await consumer.offsets_for_times({journal: max(0, since)}))[journal]
    if first is None:  # nothing was appended since
        return set()
    end = (await consumer.end_offsets([journal]))[journal]
    consumer.seek(journal, first.offset)
    ended: set[UUID] = set()
    while await consumer.position(journal) < end:
        records = (await consumer.getmany(journal, timeout_ms=1000)).get(journal, [])
        ended.update(UUID(bytes=record.key) for record in records if record.key and _is_completion(record))
    return ended


def _is_completion(record: Record) -> bool:
    return dict(record.headers).get(TYPE_HEADER) == RunCompleted.TYPE.encode()
