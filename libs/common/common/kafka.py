"""Kafka, as every service uses it: topics by declaration, bounded sends, and a reader of one partition's news."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypedDict, Unpack

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import IllegalStateError, KafkaError, TopicAlreadyExistsError, for_code
from prometheus_client import Counter

from common.contracts.topics import GENERATIONS, MAX_MESSAGE_BYTES, TOPICS, Generation
from common.errors import TallyrunError, Unavailable

log = logging.getLogger(__name__)

Record = ConsumerRecord[bytes, bytes]

SENDS_FAILED = Counter(
    "tallyrun_kafka_failed_sends", "Records that the broker refused, or did not acknowledge", ["topic", "fault"]
)
DECLARED = frozenset(topic.name for topic in TOPICS)
"""Publishers' own reply topics count as one: their names are theirs to choose."""


class Extras(TypedDict, total=False):
    """What a record may have beside its value. Without a partition its key decides, without a key chance."""

    key: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None


FETCH_LIMITS = {"max_partition_fetch_bytes": MAX_MESSAGE_BYTES, "fetch_max_bytes": 4 * MAX_MESSAGE_BYTES}
"""aiokafka's defaults (1 MiB a partition) would stall on one large run."""

ANSWER_SECONDS = 10.0
"""A broker that has not answered for so long is taken for lost: its machine may be gone without a word."""

RETRY_SECONDS = 1.0
CLOSE_SECONDS = 5.0
PROBE_SECONDS = 3.0
PROBE_TIMEOUT_SECONDS = 5.0
SILENT_PROBES = 3


class OutcomeUnknown(Unavailable):
    """The broker did not answer in time, and may still append the record. Before `publish_by` nobody can tell."""


FAULTS = {Unavailable: "unsent", OutcomeUnknown: "unknown"}


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
    """An idempotent producer whose every send is bounded. Start it, and close it, in the app's lifespan.

    A batch that fails takes its sequence numbers with it: aiokafka never gives them back, and the broker refuses all
    that follows in the partition as out of order. So a producer of which one batch has failed is replaced.
    """

    def __init__(self, bootstrap: str, *, linger_ms: int = 0) -> None:
        self._bootstrap = bootstrap
        self._linger_ms = linger_ms
        self._current: asyncio.Future[AIOKafkaProducer] | None = None
        self._retired: dict[AIOKafkaProducer, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Connect, or raise `KafkaError`."""
        producer = await self._connected()
        self._current = asyncio.get_running_loop().create_future()
        self._current.set_result(producer)

    async def close(self) -> None:
        """Flush and disconnect; what a broker that is away does not take in time is given up."""
        if self._current is None:
            return
        if not self._current.cancel():  # it had been connected
            self._retire(self._current.result())
        leaving: list[asyncio.Future[Any]] = [self._current, *self._retired.values()]
        await asyncio.wait(leaving, timeout=CLOSE_SECONDS)

    async def send(
        self, topic: str, value: bytes | None, *, timeout: float | None = None, **extras: Unpack[Extras]
    ) -> None:
        """Return once the broker has acknowledged.

        Raises `Unavailable` if the record was surely not appended, `OutcomeUnknown` if that cannot be said within
        `timeout` seconds (None waits for ever: for a record that must get there) or after its batch has failed.
        """
        assert self._current is not None, "start() first"
        acknowledged: asyncio.Future[Any] | None = None
        try:
            async with asyncio.timeout(timeout):
                producer = await asyncio.shield(self._current)
                acknowledged = await producer.send(topic, value, **extras)
                acknowledged.add_done_callback(partial(self._replace_if_failed, producer))
                await asyncio.shield(acknowledged)
        except (TimeoutError, KafkaError) as error:
            # Until it is in a batch, nothing of it leaves this process; from then on even a refusal proves little,
            # since an earlier attempt may have been appended.
            kind = Unavailable if acknowledged is None else OutcomeUnknown
            SENDS_FAILED.labels(topic if topic in DECLARED else "own", FAULTS[kind]).inc()
            raise kind(f"the message broker {_fault(error)}", retry_after=5) from error

    async def deliver(self, topic: str, value: bytes | None, **extras: Unpack[Extras]) -> None:
        """Try until the broker has acknowledged: for what is known nowhere else."""
        while True:
            try:
                return await self.send(topic, value, **extras)
            except Unavailable as error:
                log.warning("a record for %s was refused; trying again: %s", topic, error.message)
                await asyncio.sleep(RETRY_SECONDS)

    async def _connected(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            max_request_size=MAX_MESSAGE_BYTES,
            linger_ms=self._linger_ms,
            request_timeout_ms=round(ANSWER_SECONDS * 1000),
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _reconnected(self) -> AIOKafkaProducer:
        while True:
            try:
                return await self._connected()
            except Exception:  # whatever it was, sends must go on
                log.warning("no new producer yet; trying again", exc_info=True)
                await asyncio.sleep(RETRY_SECONDS)

    def _replace_if_failed(self, producer: AIOKafkaProducer, acknowledged: asyncio.Future[Any]) -> None:
        """Make one new producer, however many records failed with the old one, and whether or not anybody waits."""
        error = acknowledged.exception()
        if error is not None and producer not in self._retired:
            log.error("a batch failed; its producer is replaced: %r", error)
            self._current = asyncio.create_task(self._reconnected())
            self._retire(producer)

    def _retire(self, producer: AIOKafkaProducer) -> None:
        """Let it finish what other partitions still have with it."""
        stopping = self._retired[producer] = asyncio.create_task(producer.stop())
        stopping.add_done_callback(lambda _: self._retired.pop(producer))


def _fault(error: TimeoutError | KafkaError) -> str:
    return "does not answer" if isinstance(error, TimeoutError) else f"refused: {type(error).__name__}"


def member_timeouts(session_seconds: float) -> dict[str, int]:
    """Return the timeouts of a group's member. Its broker may take a session to answer it: the others must rejoin."""
    session_ms = round(session_seconds * 1000)
    return {
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": session_ms // 3,
        "request_timeout_ms": session_ms + round(ANSWER_SECONDS * 1000 / 2),
    }


class ConsumerSilent(Exception):
    """Records wait and the consumer does not deliver them: known to happen after a broker was lost (aiokafka #1154)."""


class SilenceWatch:
    """Notices a consumer that has gone silent, so that its owner replaces it.

    A member of a group gives its partitions up by that, and waits a session for them: a broker that does not answer
    is then no reason by itself, since the member finds the next one as soon as a new one would.
    """

    def __init__(self, consumer: AIOKafkaConsumer, *, member: bool = False) -> None:
        self._consumer = consumer
        self._member = member
        self._probe_at = time.monotonic() + PROBE_SECONDS
        self._silent = 0

    async def note(self, *, delivered: bool) -> None:
        """Call after each poll; raises `ConsumerSilent` once it was behind and delivered nothing three times over."""
        if delivered:
            self._silent = 0
        elif time.monotonic() >= self._probe_at:
            self._silent = self._silent + 1 if await self._behind() else 0
            self._probe_at = time.monotonic() + PROBE_SECONDS
            if self._silent == SILENT_PROBES:
                raise ConsumerSilent(f"nothing was delivered for {SILENT_PROBES} probes, though records wait")

    async def _behind(self) -> bool:
        """Whether a partition that is read has more, as far as a member knows; others raise `TimeoutError`."""
        reading = self._consumer.assignment() - self._consumer.paused()
        if not reading:
            return False
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                ends = await self._consumer.end_offsets(reading)
                return any([end > await self._consumer.position(partition) for partition, end in ends.items()])
        except IllegalStateError:  # a rebalance took a partition away meanwhile
            return False
        except TimeoutError:
            if not self._member:
                raise
            return True


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer. One that has lost its broker may raise the cancellation of a task of its own: it stays here."""
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        await consumer._client.close()  # noqa: SLF001 - which stop() did not come to: its connections would stay open


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
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        request_timeout_ms=round(ANSWER_SECONDS * 1000),
        **FETCH_LIMITS,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        yield consumer
    finally:
        await stop_consumer(consumer)
