"""Topics grow by a second generation beside the first, of another partition count: each has its own journal."""

from dataclasses import replace

import pytest
from services.runner.tests.cluster import Cluster

from common import kafka as plumbing
from common.contracts import topics
from common.contracts.topics import GENERATIONS, TOPICS, Generation
from common.ids import new_id, now_ms
from common.kafka import declare_topics

PARTITIONS = 14
DEADLINE_MS = 600_000


@pytest.fixture
async def second(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> Generation:
    """Declare a second generation, as a later release would."""
    unique = new_id()
    second = Generation(*(
        replace(topic, name=topic.name.replace("v1", f"v2-{unique}"), partitions=PARTITIONS)
        for topic in GENERATIONS[0].topics
    ))  # fmt: skip
    for module in (topics, plumbing):
        monkeypatch.setattr(module, "GENERATIONS", (*GENERATIONS, second))
    monkeypatch.setattr(plumbing, "TOPICS", (*TOPICS, *second.topics))
    await declare_topics(cluster.bootstrap, replication=1)
    return second


async def test_a_run_ends_in_its_own_generation_and_its_end_is_found_there(
    cluster: Cluster, second: Generation
) -> None:
    last = PARTITIONS - 1
    async with cluster.runner():
        first = [await cluster.publish(f"first {n}", partition=n % 12) for n in range(24)]
        interactive = [
            await cluster.publish(f"second {n}", topic=second.requested.name, partition=n % PARTITIONS)
            for n in range(28)
        ]
        bulk = [await cluster.publish(f"bulk {n}", topic=second.batched.name, partition=last) for n in range(10)]
        await cluster.completed(*first)
        ids = {run.run_id for run in (*interactive, *bulk)}
        ends = await cluster.records(second.completed.name, ids)
    assert len(ends) == len(ids)
    assert {end.partition for end in ends} == set(range(PARTITIONS))
    assert cluster.simulator.calls()["total"] == len(first) + len(ids)


async def test_another_runner_repeats_nothing_of_either_generation(cluster: Cluster, second: Generation) -> None:
    """The offsets are not committed by the other group: what has ended is known from the journals alone."""
    deadline = now_ms() + DEADLINE_MS
    async with cluster.runner():
        first = [await cluster.publish(f"first {n}", partition=3, deadline=deadline) for n in range(5)]
        later = [
            await cluster.publish(f"second {n}", topic=second.requested.name, partition=3, deadline=deadline)
            for n in range(5)
        ]
        await cluster.completed(*first)
        await cluster.records(second.completed.name, {run.run_id for run in later})
    cluster.group = f"other-{cluster.group}"
    async with cluster.runner():
        marker = await cluster.publish("marker", topic=second.requested.name, partition=3)
        other = await cluster.publish("other", partition=3)
        await cluster.records(second.completed.name, {marker.run_id})
        await cluster.completed(other)
    assert cluster.simulator.calls()["total"] == 12
