"""Replies: the gateway hears of a batch's rows in short, publishers in topics of their own, and none holds up a run."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from services.runner.tests.cluster import Cluster

from common.contracts.event import INSTANCE_HEADER
from common.contracts.runs_v1 import ReplyTo, RunCompleted
from common.contracts.topics import REPLIES
from common.kafka import Record, partition_news


@pytest.fixture
async def admin(cluster: Cluster) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    yield admin
    await admin.close()


@pytest.fixture
async def own(cluster: Cluster, admin: AIOKafkaAdminClient) -> str:
    """A topic of the workspace's own, of two partitions."""
    name = f"runs.replies.{cluster.workspace}.mine"
    await admin.create_topics([NewTopic(name, 2, 1)])
    return name


async def reply(cluster: Cluster, topic: str, partition: int, reply_to: ReplyTo, batch_id: str | None) -> Record:
    async with cluster.runner(), partition_news(cluster.bootstrap, topic, [partition]) as replies:
        run = await cluster.publish("reply", reply_to=reply_to, batch_id=batch_id, custom_id="a")
        async with asyncio.timeout(20):
            record: Record = await replies.getone()
        assert RunCompleted.model_validate_json(record.value or b"").run_id == run.run_id
        return record


async def test_of_a_batchs_run_the_gateway_hears_all_but_the_texts(cluster: Cluster) -> None:
    record = await reply(cluster, REPLIES.name, 3, ReplyTo(partition=3, instance="me"), "batch_1")
    told = RunCompleted.model_validate_json(record.value or b"")
    (stored,) = await cluster.records("runs.completed.v1", {told.run_id})
    whole = RunCompleted.model_validate_json(stored.value or b"")
    assert whole.output
    assert whole.response
    assert told == whole.model_copy(update={"output": None, "response": None})


async def test_a_publisher_is_told_everything_in_a_topic_of_its_own(cluster: Cluster, own: str) -> None:
    record = await reply(cluster, own, 1, ReplyTo(partition=1, instance="job-7", topic=own), "batch_1")
    told = RunCompleted.model_validate_json(record.value or b"")
    assert told.output
    assert told.response
    assert dict(record.headers)[INSTANCE_HEADER] == b"job-7"
    assert record.key == told.run_id.bytes


async def test_a_topic_that_is_not_there_keeps_no_run_from_ending(
    cluster: Cluster, admin: AIOKafkaAdminClient, own: str
) -> None:
    missing = [ReplyTo(partition=0, topic=f"runs.replies.{cluster.workspace}.{uuid4().hex}") for _ in range(50)]
    beyond = [ReplyTo(partition=2, topic=own) for _ in range(50)]
    runs = [await cluster.publish(f"run {n}", reply_to=reply_to) for n, reply_to in enumerate(missing + beyond)]
    async with cluster.runner():
        ended = await cluster.completed(*runs)
        await cluster.until_committed()
    assert {run.status for run in ended.values()} == {"succeeded"}
    spread = max(run.completed_at for run in ended.values()) - min(run.completed_at for run in ended.values())
    print(f"100 replies were given up; the runs ended within {spread} ms of each other")
    assert not {reply_to.topic for reply_to in missing} & set(await admin.list_topics())
