"""Who is served before whom, by the order of calls and of ends; and poison, which is served to nobody."""

import asyncio
from uuid import UUID, uuid4

import pytest
from services.runner.tests.cluster import Cluster

from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import BATCHED, PARTITIONS, REJECTED, REQUESTED
from common.ids import new_id, now_ms
from runner.halt import FAILURES

PUBLISHED_AT_ONCE = 500
HOUR_MS = 3_600_000


@pytest.mark.parametrize(("long_ms", "short_ms"), [(6_000, 100), pytest.param(60_000, 1_000, marks=pytest.mark.soak)])
async def test_one_long_call_holds_up_none_of_its_partition(cluster: Cluster, long_ms: int, short_ms: int) -> None:
    cluster.call_seconds = 2 * long_ms // 1000
    cluster.simulator.control(latency_ms=short_ms, rules=[{"prompt": "long", "latency_ms": long_ms}])
    async with cluster.runner(drain_seconds=cluster.call_seconds):
        long = await cluster.publish("long", partition=3)
        await cluster.until_called("long")
        short = [await cluster.publish(f"short {n}", partition=3) for n in range(60)]
        await cluster.completed(*short)
        assert cluster.simulator.calls()["in_flight"] == 1
    ended = await cluster.completed(long, *short)
    assert {c.status for c in ended.values()} == {"succeeded"}
    assert max(ended[run.run_id].completed_at for run in short) < ended[long.run_id].completed_at


@pytest.mark.parametrize("bulk", [5_000, pytest.param(50_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
async def test_interactive_runs_and_small_workspaces_do_not_wait_for_a_backlog(cluster: Cluster, bulk: int) -> None:
    cluster.slots = 20
    cluster.simulator.control(latency_ms=20)
    huge = await published(cluster, "huge", bulk, cluster.workspace)
    small = await published(cluster, "small", 50, uuid4())
    async with cluster.runner():
        first = [await cluster.publish(f"first {n}", partition=n) for n in range(PARTITIONS)]
        await cluster.completed(*first)  # each partition's journal is read
        interactive = [await cluster.publish(f"interactive {n}", workspace_id=uuid4()) for n in range(60)]
        ended = await cluster.completed(*huge, *small, *interactive, seconds=bulk * 0.02)
    assert {c.status for c in ended.values()} == {"succeeded"}
    before_small, before_interactive = before(ended, huge, small), before(ended, huge, interactive)
    already = before(ended, huge, [min(interactive, key=lambda run: ended[run.run_id].attempts[0].started_at)])
    print(f"{bulk} bulk: {before_small} called before all of the small workspace, ", end="")
    print(f"{already} before the first interactive run and {before_interactive} before the last")
    # All of the huge one's stand before them in the log. They wait while those are read past, and no longer.
    assert before_small < bulk / 5
    assert before_interactive - already < (bulk - already) / 10


def before(ended: dict[UUID, RunCompleted], these: list[RunRequested], those: list[RunRequested]) -> int:
    """How many of these were called before the last of those."""
    last = max(ended[run.run_id].attempts[0].started_at for run in those)
    return sum(ended[run.run_id].attempts[0].started_at < last for run in these)


async def published(cluster: Cluster, prompt: str, count: int, workspace: UUID) -> list[RunRequested]:
    """Publish so many bulk runs, evenly over the partitions."""
    runs: list[RunRequested] = []
    for first in range(0, count, PUBLISHED_AT_ONCE):
        numbers = range(first, min(first + PUBLISHED_AT_ONCE, count))
        runs += await asyncio.gather(*(bulk_run(cluster, f"{prompt} {n}", n, workspace) for n in numbers))
    return runs


async def bulk_run(cluster: Cluster, prompt: str, number: int, workspace: UUID) -> RunRequested:
    deadline = now_ms() + HOUR_MS
    return await cluster.publish(
        prompt, topic=BATCHED.name, partition=number % PARTITIONS, workspace_id=workspace, deadline=deadline
    )


async def test_of_one_percent_poison_exactly_the_poison_is_rejected(cluster: Cluster) -> None:
    poison, good = [new_id() for _ in range(10)], []
    for hundred in poison:
        good += await asyncio.gather(*(cluster.publish(f"good {n}", partition=n % PARTITIONS) for n in range(50)))
        await cluster.send(REQUESTED.name, b'{"model": 1}', hundred, partition=hundred.int % PARTITIONS)
        good += await asyncio.gather(*(cluster.publish(f"good {n}", partition=n % PARTITIONS) for n in range(49)))
    async with cluster.runner():
        ended = await cluster.completed(*good)
        rejected = await cluster.records(REJECTED.name, set(poison))
        await cluster.until_committed()
    assert {c.status for c in ended.values()} == {"succeeded"}
    assert sorted(UUID(bytes=record.key or b"") for record in rejected) == sorted(poison)
    assert cluster.simulator.calls()["total"] == len(good)


async def test_a_tenant_that_publishes_nothing_but_poison_holds_nobody_up(cluster: Cluster) -> None:
    tenant = cluster.granted(uuid4())
    poison = [new_id() for _ in range(4 * FAILURES)]
    for run_id in poison:
        await cluster.send_as(tenant, REQUESTED.name, b"{not json", run_id, partition=2)
    good = [await cluster.publish(f"good {n}", partition=2, workspace_id=uuid4()) for n in range(20)]
    async with cluster.runner():
        ended = await cluster.completed(*good)
        rejected = await cluster.records(REJECTED.name, set(poison))
        await cluster.until_committed()
    assert {c.status for c in ended.values()} == {"succeeded"}
    assert sorted(UUID(bytes=record.key or b"") for record in rejected) == sorted(poison)
