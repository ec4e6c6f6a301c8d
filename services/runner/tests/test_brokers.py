"""A cluster loses one of its three brokers: runs are carried out all the same, and none is lost."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from services.runner.tests.cluster import Cluster, cluster_on

from common.contracts.event import TYPE_HEADER
from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import COMPLETED, REQUESTED
from common.identity import Verifier
from common.kafka import FETCH_LIMITS
from common.testing import ThreeBrokers

BACK_SECONDS = 30
"""What is promised: so soon after the loss runs are carried out again."""

ENOUGH = 50
TIMES = [1, pytest.param(5, marks=pytest.mark.soak)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("losses", TIMES)
async def test_one_of_three_brokers_may_be_lost(
    three_brokers: ThreeBrokers, identity_dir: Path, verifier: Verifier, losses: int
) -> None:
    seed, waits = random.randrange(2**32), []
    chance = random.Random(seed)
    async with cluster_on(three_brokers.bootstrap, identity_dir, verifier) as cluster, cluster.runner():
        async with publishing(cluster) as acknowledged:
            for _ in range(losses):
                await reached(acknowledged, len(acknowledged) + ENOUGH)
                lost = chance.randrange(3)
                three_brokers.processes[lost].kill()
                waits.append(await seconds_until_completed(cluster, acknowledged))
                await asyncio.to_thread(three_brokers.restart, lost)
                await whole_again(three_brokers.bootstrap)
            await reached(acknowledged, len(acknowledged) + ENOUGH)
        executions = await executions_of(cluster, {run.run_id for run in acknowledged})
    calls = cluster.simulator.calls()
    print(
        f"seed {seed}, {losses} losses: {len(acknowledged)} runs acknowledged, carried out again after"
        f" {[f'{wait:.1f}' for wait in waits]} s, {calls['total']} calls, {executions.total()} completions"
    )
    assert len(executions) == len(acknowledged)
    assert set(executions.values()) == {1}
    assert max(waits) <= BACK_SECONDS


@asynccontextmanager
async def publishing(cluster: Cluster) -> AsyncIterator[list[RunRequested]]:
    """Publish runs, a hundred a second as long as they are acknowledged; yield those that were."""
    acknowledged: list[RunRequested] = []
    over = asyncio.Event()

    async def publish_for_ever() -> None:
        while not over.is_set():
            acknowledged.append(await cluster.publish(uuid.uuid4().hex))
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(publish_for_ever())
        try:
            yield acknowledged
        finally:
            over.set()


async def reached(acknowledged: list[RunRequested], count: int) -> None:
    async with asyncio.timeout(2 * BACK_SECONDS):
        while len(acknowledged) < count:
            await asyncio.sleep(0.05)


async def seconds_until_completed(cluster: Cluster, acknowledged: list[RunRequested]) -> float:
    """Return how long it takes until twelve runs, some in every partition, are acknowledged and have ended."""
    began = time.monotonic()
    runs = await asyncio.gather(*(cluster.publish(uuid.uuid4().hex) for _ in range(3 * REQUESTED.partitions)))
    acknowledged += runs
    await cluster.completed(*runs)
    return time.monotonic() - began


async def whole_again(bootstrap: str) -> None:
    """Return once every partition has three copies in sync."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            while any(len(part["isr"]) < 3 for topic in await admin.describe_topics() for part in topic["partitions"]):
                await asyncio.sleep(0.2)
    finally:
        await admin.close()


async def executions_of(cluster: Cluster, run_ids: set[UUID]) -> Counter[UUID]:
    """Return how many executions of each run are in the books, once there is one of each."""
    await cluster.records(COMPLETED.name, run_ids)
    completed: list[RunCompleted] = []
    consumer = AIOKafkaConsumer(
        COMPLETED.name, bootstrap_servers=cluster.bootstrap, auto_offset_reset="earliest", **FETCH_LIMITS
    )
    async with consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                ended = [r for r in records if dict(r.headers).get(TYPE_HEADER) == RunCompleted.TYPE.encode()]
                completed += [RunCompleted.model_validate_json(record.value or b"") for record in ended]
    return Counter(run_id for run_id, _ in {(run.run_id, run.execution_id) for run in completed})
