"""Kafka in: batches that span every owned partition, committed once they are stored."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import OffsetAndMetadata

from analytics.ingest import Refused
from analytics.telemetry import REJECTED, STORED, WAITS
from analytics.traced import storing
from common.contracts.runs_v1 import RunRejected
from common.contracts.topics import GENERATIONS
from common.contracts.topics import REJECTED as REJECTED_TOPIC
from common.errors import Unavailable
from common.heartbeat import Heartbeat
from common.kafka import FETCH_LIMITS, Publisher, Record, SilenceWatch, member_timeouts, stop_consumer

log = logging.getLogger(__name__)

TOPICS = tuple(topic.name for generation in GENERATIONS for topic in generation.topics)
FIRST = TopicPartition(GENERATIONS[0].completed.name, 0)

IDLE_MS = 500
LINGER_SECONDS = 0.25
"""Records that arrive this soon after the first share its insert: every insert costs a part on disk for each table."""

BATCH_RECORDS, BATCH_BYTES = 60_000, 64 * 1024 * 1024

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""Seconds between attempts to store while the database is away; doubled each time."""


class Store(Protocol):
    """Where records go."""

    async def store(self, records: Sequence[Record]) -> list[Refused]:
        """Store them, or raise `Unavailable`; answer the ones to be set aside."""


class Consumer:
    """One member of the group. Storing again changes nothing, so a batch is read again whenever in doubt."""

    def __init__(self, bootstrap: str, group: str, session_seconds: float, store: Store, publisher: Publisher) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._session_seconds = session_seconds
        self._store = store
        self._publisher = publisher
        self._consumer: AIOKafkaConsumer | None = None
        self.heartbeat = Heartbeat()

    def running(self) -> bool:
        """Whether it is a member that may read."""
        return self._consumer is not None

    def owns_first(self) -> bool:
        """Whether the first completed topic's partition 0 is read here: one of all replicas owns it."""
        return self._consumer is not None and FIRST in self._consumer.assignment()

    async def run(self) -> None:
        """Read for ever; a session that fails is followed by another."""
        while True:
            self.heartbeat.beat()
            try:
                await self._session()
            except Exception:  # nothing may end it: what is not read is not counted
                log.exception("reading from Kafka failed; it starts again")
                await asyncio.sleep(1)

    async def _session(self) -> None:
        consumer = AIOKafkaConsumer(
            *TOPICS,
            bootstrap_servers=self._bootstrap,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            **member_timeouts(self._session_seconds),
            **FETCH_LIMITS,
        )
        try:
            await consumer.start()
            self._consumer = consumer
            watch = SilenceWatch(consumer, member=True)
            while True:
                await watch.note(delivered=await self._turn(consumer))
        finally:
            self._consumer = None
            await stop_consumer(consumer)

    async def _turn(self, consumer: AIOKafkaConsumer) -> bool:
        """Store and commit what there is; whether there was something."""
        self.heartbeat.beat()
        records = await _collect(consumer)
        if not records:
            return False
        with storing(records):
            for refused in await self._stored(records):
                await self._set_aside(refused)
            await _commit(consumer, records)
        STORED.inc(len(records))
        return True

    async def _stored(self, records: list[Record]) -> list[Refused]:
        """Store; wait as long as the database is away."""
        pause = FIRST_PAUSE
        while True:
            self.heartbeat.beat()
            try:
                return await self._store.store(records)
            except Unavailable:
                WAITS.inc()
                log.warning("a batch waits for the database", extra={"records": len(records), "pause": pause})
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _set_aside(self, refused: Refused) -> None:
        """Publish the record's own bytes with what was wrong; its own headers may hold a grant and stay behind."""
        record = refused.record
        rejected = RunRejected(
            reason=refused.reason,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            service="analytics",
        )
        log.error("a record was set aside", extra=rejected.model_dump())
        await self._publisher.deliver(REJECTED_TOPIC.name, record.value, key=record.key, headers=rejected.headers())
        REJECTED.inc()


async def _collect(consumer: AIOKafkaConsumer) -> list[Record]:
    """Return what there is: at once if that fills a batch, otherwise with what follows within the linger."""
    records = _flat(await consumer.getmany(timeout_ms=IDLE_MS, max_records=BATCH_RECORDS))
    linger = asyncio.get_running_loop().time() + LINGER_SECONDS
    while records and len(records) < BATCH_RECORDS and _size(records) < BATCH_BYTES:
        left = round(1000 * (linger - asyncio.get_running_loop().time()))
        if left <= 0:
            break
        records += _flat(await consumer.getmany(timeout_ms=left, max_records=BATCH_RECORDS - len(records)))
    return records


def _flat(fetched: dict[TopicPartition, list[Record]]) -> list[Record]:
    return [record for records in fetched.values() for record in records]


def _size(records: list[Record]) -> int:
    return sum(len(record.value or b"") for record in records)


async def _commit(consumer: AIOKafkaConsumer, records: list[Record]) -> None:
    """Commit after the last record of each partition, with its append time (see `watermark`)."""
    last = {TopicPartition(record.topic, record.partition): record for record in records}
    offsets = {
        partition: OffsetAndMetadata(record.offset + 1, str(record.timestamp))
        for partition, record in last.items()
        if partition in consumer.assignment()
    }
    try:
        if offsets:
            await consumer.commit(offsets)
    except (CommitFailedError, IllegalStateError):
        log.info("partitions moved on before the commit; their new owner reads the batch again")
