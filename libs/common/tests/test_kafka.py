"""Topics by declaration, and sends whose outcome is always said."""

import asyncio
import os
import signal

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from common.contracts.topics import COMPLETED, REPLIES, TOPICS
from common.kafka import OutcomeUnknown, Publisher, TopicMismatch, declare_topics, partition_news
from common.testing import Broker


async def test_declaring_again_changes_nothing(kafka: str) -> None:
    await declare_topics(kafka, replication=1)


async def test_topics_are_as_declared(kafka: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    described = {meta["topic"]: len(meta["partitions"]) for meta in await admin.describe_topics()}
    await admin.close()
    assert {topic.name: topic.partitions for topic in TOPICS}.items() <= described.items()


async def test_unequal_partition_counts_stop_the_service(own_broker: Broker) -> None:
    await declare_topics(own_broker.bootstrap, replication=1)
    admin = AIOKafkaAdminClient(bootstrap_servers=own_broker.bootstrap)
    await admin.start()
    await admin.create_partitions({COMPLETED.name: NewPartitions(COMPLETED.partitions + 1)})
    while len((await admin.describe_topics([COMPLETED.name]))[0]["partitions"]) == COMPLETED.partitions:
        await asyncio.sleep(0.05)  # the broker tells of the new partition a moment later
    await admin.close()
    with pytest.raises(TopicMismatch, match=r"partition counts differ.*13"):
        await declare_topics(own_broker.bootstrap, replication=1)


async def test_news_of_a_partition_reach_its_reader(kafka: str, publisher: Publisher) -> None:
    async with partition_news(kafka, REPLIES.name, [5]) as reader:
        await publisher.send(REPLIES.name, b"elsewhere", partition=4)
        await publisher.send(REPLIES.name, b"here", key=b"k", headers=[("h", b"v")], partition=5)
        record = await reader.getone()
    assert (record.value, record.key, record.headers) == (b"here", b"k", (("h", b"v"),))
    assert reader.assignment() == {TopicPartition(REPLIES.name, 5)}


async def test_a_large_message_passes(kafka: str, publisher: Publisher) -> None:
    large = os.urandom(9 * 1024 * 1024)
    async with partition_news(kafka, REPLIES.name, [6]) as reader:
        await publisher.send(REPLIES.name, large, partition=6)
        assert (await reader.getone()).value == large


async def test_a_frozen_broker_makes_the_outcome_unknown(own_broker: Broker) -> None:
    await declare_topics(own_broker.bootstrap, replication=1)
    publisher = Publisher(own_broker.bootstrap)
    await publisher.start()
    await publisher.send(REPLIES.name, b"before", partition=0)
    os.kill(own_broker.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(OutcomeUnknown):
            await publisher.send(REPLIES.name, b"frozen", partition=0, timeout=0.5)
    finally:
        os.kill(own_broker.process.pid, signal.SIGCONT)
    await publisher.send(REPLIES.name, b"after", partition=0, timeout=30)
    await publisher.close()
