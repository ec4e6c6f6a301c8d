"""Kafka, as every service uses it: topics by declaration, bounded sends, and a reader of one partition's news."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import IllegalStateError, KafkaError, TopicAlreadyExistsError, for_code

from common.contracts.topics import GENERATIONS, MAX_MESSAGE_BYTES, TOPICS, Generation
from common.errors import TallyrunError, Unavailable

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes]]
Record = ConsumerRecord[bytes, bytes]

FETCH_LIMITS = {"max_partition_fetch_bytes": MAX_MESSAGE_BYTES, "fetch_max_bytes": 4 * MAX_MESSAGE_BYTES}
"""aiokafka's defaults (1 MiB a partition) would stall on one large run."""

RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0
PROBE_SECONDS = 3.0
PROBE_TIMEOUT_SECONDS = 5.0
SILENT_PROBES = 3


class OutcomeUnknown(Unavailable):
    """The broker did not answer in time, and may still append the record. Before `publish_by` nobody can tell."""


class TopicMismatch(TallyrunError):
    """The cluster's topics are not as declared; the message says which and what to do."""


async def declare_topics(bootstrap: str, replication: int) -> None:
    """Create what is missing, then check every partition count; raise `TopicMismatch` where one differs."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await _create_missing(admin, replication)
        _check({meta["topic"]: len(meta["partitions"]) for meta in await _described(admin)})
    finally:
        await admin.close()


async def _create_missing(admin: AIOKafkaAdminClient, replication: int) -> None:
    present = set(await admin.list_topics())
    missing = [
        NewTopic(t.name, t.partitions, replication, topic_configs=t.config(replication))
        for t in TOPICS
        if t.name not in present
    ]
    if missing:
        answer: Any = await admin.create_topics(missing)
        for name, code, *reason in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise TopicMismatch(f"topic {name} could not be created: {for_code(code).__name__} {reason}")


async def _described(admin: AIOKafkaAdminClient) -> list[dict[str, Any]]:
    """Return the declared topics' metadata; a topic just made may take a moment to be known everywhere."""
    names = [t.name for t in TOPICS]
    for _ in range(100):
        described = await admin.describe_topics(names)
        if all(meta["error_code"] == 0 and meta["partitions"] for meta in described):
            return described
        await asyncio.sleep(0.1)
    raise TopicMismatch("the cluster does not list the declared topics within 10 s")


def _check(counts: dict[str, int]) -> None:
    """Raise unless the topics of each generation have equal counts, and every other topic its declared one."""
    for generation in GENERATIONS:
        _check_equal(generation, counts)
    free = {topic.name for generation in GENERATIONS for topic in generation.topics}
    wrong = {t.name: counts[t.name] for t in TOPICS if t.name not in free and counts[t.name] != t.partitions}
    if wrong:
        raise TopicMismatch(f"topics with another partition count than declared: {wrong}. Recreate them.")


def _check_equal(generation: Generation, counts: dict[str, int]) -> None:
    found = {topic.name: counts[topic.name] for topic in generation.topics}
    if len(set(found.values())) != 1:
        raise TopicMismatch(
            f"partition counts differ: {found}. They must be equal, since a completion goes to its request's"
            " partition number. Counts never change in place: recreate the topics, or declare a new generation."
        )


class Publisher:
    """An idempotent producer whose every send is bounded. Start it, and close it, in the app's lifespan."""

    def __init__(self, bootstrap: str, *, linger_ms: int = 0) -> None:
        self._bootstrap = bootstrap
        self._linger_ms = linger_ms
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            max_request_size=MAX_MESSAGE_BYTES,
            linger_ms=self._linger_ms,
        )
        await self._producer.start()

    async def close(self) -> None:
        """Flush and disconnect; what a broker that is away does not take in time is given up."""
        if self._producer is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._producer.stop()

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Return once the broker has acknowledged.

        Raises `Unavailable` if the record was surely not appended, `OutcomeUnknown` if that cannot be said within
        `timeout` seconds (None waits for ever: for a record that must get there).
        """
        assert self._producer is not None, "start() first"
        try:
            async with asyncio.timeout(timeout):
                acknowledged = await self._producer.send(
                    topic, value, key=key, partition=partition, headers=list(headers)
                )
                await asyncio.shield(acknowledged)
        except TimeoutError as error:
            raise OutcomeUnknown("the message broker does not answer", retry_after=5) from error
        except KafkaError as error:
            raise Unavailable(f"the message broker refused: {type(error).__name__}", retry_after=5) from error

    async def deliver(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Try until the broker has acknowledged: for what is known nowhere else."""
        while True:
            try:
                return await self.send(topic, value, key=key, headers=headers, partition=partition)
            except Unavailable as error:
                log.warning("a record for %s was refused; trying again: %s", topic, error.message)
                await asyncio.sleep(RETRY_SECONDS)


class ConsumerSilent(Exception):
    """Records wait and the consumer does not deliver them: known to happen after a broker was lost (aiokafka #1154)."""


class SilenceWatch:
    """Notices a consumer that has gone silent, so that its owner replaces it."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._probe_at = time.monotonic() + PROBE_SECONDS
        self._silent = 0

    async def note(self, *, delivered: bool) -> None:
        """Call after each poll; raises `ConsumerSilent` once it was behind and delivered nothing three times over."""
        if delivered:
            self._silent = 0
        elif time.monotonic() >= self._probe_at:
            self._probe_at = time.monotonic() + PROBE_SECONDS
            self._silent = self._silent + 1 if await self._behind() else 0
            if self._silent == SILENT_PROBES:
                raise ConsumerSilent(f"nothing was delivered for {SILENT_PROBES} probes, though records wait")

    async def _behind(self) -> bool:
        """Whether a partition that is read has more; raise `TimeoutError` where the broker does not say."""
        reading = self._consumer.assignment() - self._consumer.paused()
        if not reading:
            return False
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                ends = await self._consumer.end_offsets(reading)
                return any([end > await self._consumer.position(partition) for partition, end in ends.items()])
        except IllegalStateError:  # a rebalance took a partition away meanwhile
            return False


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer. One that has lost its broker may raise the cancellation of a task of its own: it stays here."""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise


@asynccontextmanager
async def partition_news(bootstrap: str, topic: str, partitions: Sequence[int]) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer that reads these partitions from their end on, in no group and without commits."""
    assigned = [TopicPartition(topic, partition) for partition in partitions]
    async with partition_reader(bootstrap, assigned) as consumer:
        await consumer.seek_to_end(*assigned)
        yield consumer


@asynccontextmanager
async def partition_reader(bootstrap: str, partitions: Sequence[TopicPartition]) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer of these partitions, in no group and without commits; where it begins is the caller's to say."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, **FETCH_LIMITS)
    try:
        await consumer.start()
        consumer.assign(partitions)
        yield consumer
    finally:
        await stop_consumer(consumer)
