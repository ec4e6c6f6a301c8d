"""Sends whose outcome is always said, though the broker freezes and producers break for ever."""

import asyncio
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.producer.transaction_manager import PidAndEpoch
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.structs import TopicPartition
from prometheus_client import REGISTRY

from common.errors import Unavailable
from common.kafka import OutcomeUnknown, Publisher
from common.testing import Broker

MOST_BYTES = 100_000
LARGE = os.urandom(2 * MOST_BYTES)
"""Refused by the broker: the producer knows only the limit of our own topics."""

SENDS = 300


async def new_topic(bootstrap: str) -> str:
    """Make a topic of one partition that refuses LARGE."""
    name = f"publisher-{uuid.uuid4()}"
    await make(bootstrap, name)
    return name


async def make(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    async with asyncio.timeout(20):
        await admin.start()
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": str(MOST_BYTES)})])
        await admin.close()


async def delete(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()


@pytest.fixture
async def topic(kafka: str) -> str:
    return await new_topic(kafka)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[AIOKafkaProducer]:
    """The producers that were started, in order."""
    producers: list[AIOKafkaProducer] = []
    start = AIOKafkaProducer.start

    async def noted(producer: AIOKafkaProducer) -> None:
        producers.append(producer)
        await start(producer)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(AIOKafkaProducer, "start", noted)
    return producers


@pytest.fixture
async def publishing(started: list[AIOKafkaProducer], publisher: Publisher, topic: str) -> Publisher:
    """A publisher that has sent to the topic before, so that the broker expects what comes next."""
    await publisher.send(topic, b"first", timeout=20)
    return publisher


async def outcome(publisher: Publisher, topic: str, value: bytes, timeout: float = 20) -> str:
    """Send, and return what was said of it."""
    try:
        await publisher.send(topic, value, timeout=timeout)
    except Unavailable as error:
        return type(error).__name__
    return "acknowledged"


async def appended(bootstrap: str, topic: str) -> list[bytes]:
    """Return every value in the topic."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer:
        partition = TopicPartition(topic, 0)
        end = (await consumer.end_offsets([partition]))[partition]
        values: list[bytes] = []
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                values += [record.value or b"" for record in records]
    return values


async def test_a_refused_batch_costs_one_producer_and_nobody_else_a_send(
    kafka: str, topic: str, publishing: Publisher, started: list[AIOKafkaProducer]
) -> None:
    place = {"topic": "own", "fault": "unknown"}
    failed = REGISTRY.get_sample_value("tallyrun_kafka_failed_sends_total", place) or 0
    with pytest.raises(OutcomeUnknown, match="MessageSizeTooLarge"):
        await publishing.send(topic, LARGE, timeout=20)
    said = await asyncio.gather(*(outcome(publishing, topic, b"%d" % n) for n in range(SENDS)))
    assert said == ["acknowledged"] * SENDS
    assert REGISTRY.get_sample_value("tallyrun_kafka_failed_sends_total", place) == failed + 1
    assert len(started) == 2
    assert sorted(await appended(kafka, topic)) == sorted([b"first", *(b"%d" % n for n in range(SENDS))])


async def test_sends_beside_a_refused_one_are_told_the_truth_and_share_the_new_producer(
    kafka: str, topic: str, publishing: Publisher, started: list[AIOKafkaProducer]
) -> None:
    values = [b"%d" % n for n in range(SENDS)]
    values.insert(SENDS // 2, LARGE)
    said = dict(zip(values, await asyncio.gather(*(outcome(publishing, topic, v) for v in values)), strict=True))
    there = await appended(kafka, topic)
    assert said[LARGE] == "OutcomeUnknown"
    assert len(there) == len(set(there))
    assert {value for value, word in said.items() if word == "acknowledged"} <= set(there)
    assert {value for value, word in said.items() if word == "Unavailable"}.isdisjoint(there)
    assert await outcome(publishing, topic, b"after") == "acknowledged"
    print({word: list(said.values()).count(word) for word in set(said.values())}, f"producers {len(started)}")
    assert len(started) == 2


async def test_a_record_that_must_get_there_outlives_its_producer(
    kafka: str, topic: str, publishing: Publisher, started: list[AIOKafkaProducer]
) -> None:
    with fatal(started[-1]):
        async with asyncio.timeout(30):
            await asyncio.gather(*(publishing.deliver(topic, b"%d" % n) for n in range(20)))
    assert set(await appended(kafka, topic)) == {b"first", *(b"%d" % n for n in range(20))}
    assert len(started) == 2


@contextmanager
def fatal(producer: AIOKafkaProducer) -> Iterator[None]:
    """Let the producer's next produce request raise what aiokafka does not expect: its sender task dies."""
    client: Any = producer.client
    send = client.send

    async def broken(node: int, request: Any, **more: Any) -> Any:
        if isinstance(request, ProduceRequest):
            raise KeyError("no such connection")
        return await send(node, request, **more)

    client.send = broken
    yield
    assert producer._sender.sender_task.done()


async def test_a_dead_sender_is_replaced(topic: str, publishing: Publisher, started: list[AIOKafkaProducer]) -> None:
    with fatal(started[-1]):
        assert await outcome(publishing, topic, b"lost") == "OutcomeUnknown"
    assert await outcome(publishing, topic, b"after") == "acknowledged"
    assert len(started) == 2


async def test_a_sender_that_dies_when_nobody_waits_any_more_is_replaced(
    own_broker: Broker, started: list[AIOKafkaProducer]
) -> None:
    topic = await new_topic(own_broker.bootstrap)
    publisher = Publisher(own_broker.bootstrap)
    await publisher.start()
    await publisher.send(topic, b"first")
    with fatal(started[-1]), frozen(own_broker):
        said = await asyncio.gather(*(outcome(publisher, topic, b"abandoned", timeout=0.001) for _ in range(3)))
    assert "acknowledged" not in said
    assert await outcome(publisher, topic, b"after") == "acknowledged"
    assert len(started) == 2
    await publisher.close()


async def test_a_fenced_producer_is_replaced(
    kafka: str, topic: str, publishing: Publisher, started: list[AIOKafkaProducer]
) -> None:
    mine = started[-1]._txn_manager
    other = AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True)
    await other.start()
    other._txn_manager._pid_and_epoch = PidAndEpoch(mine.producer_id, mine.producer_epoch + 1)
    await other.send_and_wait(topic, b"a newer epoch of the same producer")
    await other.stop()
    with pytest.raises(OutcomeUnknown, match="ProducerFenced"):
        await publishing.send(topic, b"fenced", timeout=20)
    assert await outcome(publishing, topic, b"after") == "acknowledged"


async def test_a_topic_made_anew_goes_on(kafka: str, topic: str, publishing: Publisher) -> None:
    await delete(kafka, topic)
    await make(kafka, topic)
    assert await outcome(publishing, topic, b"after") == "acknowledged"
    assert await appended(kafka, topic) == [b"after"]


@contextmanager
def frozen(broker: Broker) -> Iterator[None]:
    """It accepts connections, and does nothing."""
    os.kill(broker.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.process.pid, signal.SIGCONT)


async def test_sends_pile_up_no_further_than_two_batches_while_the_broker_is_frozen(
    own_broker: Broker, started: list[AIOKafkaProducer]
) -> None:
    topic = await new_topic(own_broker.bootstrap)
    publisher = Publisher(own_broker.bootstrap)
    await publisher.start()
    await publisher.send(topic, b"first")
    values = [os.urandom(1000) for _ in range(SENDS)]
    with frozen(own_broker):
        said = dict(zip(values, await asyncio.gather(*(outcome(publisher, topic, v, 1) for v in values)), strict=True))
        assert await outcome(publisher, topic, b"late", 0.5) == "Unavailable"
    assert await outcome(publisher, topic, b"after") == "acknowledged"
    there = await appended(own_broker.bootstrap, topic)
    unknown = {value for value, word in said.items() if word == "OutcomeUnknown"}
    print(f"{len(unknown)} of unknown outcome, {SENDS - len(unknown)} surely not appended, {len(there)} appended")
    assert set(said.values()) == {"OutcomeUnknown", "Unavailable"}
    assert sum(map(len, unknown)) <= 2 * 16_384
    assert sorted(there) == sorted([b"first", *unknown, b"after"])
    assert len(started) == 1
    await publisher.close()
