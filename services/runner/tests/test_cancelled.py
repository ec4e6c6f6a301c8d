"""A cancelled batch: nothing more of it is called, whatever waits, and calls in flight finish."""

import asyncio
from decimal import Decimal
from uuid import UUID, uuid4

from services.runner.tests.cluster import Cluster

from common.contracts.batches_v1 import BatchCancelled
from common.contracts.runs_v1 import RunCompleted
from common.contracts.topics import BATCHED, BATCHES_CANCELLED
from common.ids import now_ms


async def cancel(cluster: Cluster, batch: str, workspace: UUID | None = None) -> int:
    """Announce it, and return when that was (UTC ms)."""
    now = now_ms()
    event = BatchCancelled(batch_id=batch, workspace_id=workspace or cluster.workspace, cancelled_at=now)
    await cluster.publisher.send(
        BATCHES_CANCELLED.name, event.encode(), key=event.subject, headers=event.headers(), partition=0
    )
    return now


async def until_served(cluster: Cluster, count: int) -> None:
    async with asyncio.timeout(30):
        while cluster.simulator.calls()["served"] < count:
            await asyncio.sleep(0.01)


def assert_not_called(run: RunCompleted) -> None:
    assert run.error is not None
    assert (run.status, run.error.code, run.attempts) == ("cancelled", "batch_cancelled", [])
    assert (run.cost.priced, run.cost.total) == (True, Decimal(0))


async def test_within_a_second_of_the_cancellation_no_call_starts(cluster: Cluster) -> None:
    cluster.slots = 20
    cluster.simulator.control(latency_ms=200)
    batch, other = f"batch_{uuid4().hex}", f"batch_{uuid4().hex}"
    runs = [await cluster.publish(f"row {n}", topic=BATCHED.name, batch_id=batch) for n in range(1000)]
    others = [await cluster.publish(f"other {n}", topic=BATCHED.name, batch_id=other) for n in range(10)]
    async with cluster.runner():
        await until_served(cluster, 40)
        await cancel(cluster, other, uuid4())  # another workspace's word on a batch that is not its own
        at = await cancel(cluster, batch)
        ended = await cluster.completed(*runs, *others)
        await cluster.until_committed()
    starts = [run.attempts[0].started_at for run in ended.values() if run.attempts and run.batch_id == batch]
    uncalled = [run for run in ended.values() if run.status == "cancelled"]
    for run in uncalled:
        assert_not_called(run)
    print(f"1000 waiting: {len(starts)} called, the last {max(starts) - at} ms after; {len(uncalled)} cancelled")
    assert max(starts) < at + 1000
    assert len(starts) + len(uncalled) == 1000
    assert {ended[run.run_id].status for run in others} == {"succeeded"}
    assert {run.status for run in ended.values() if run.attempts} == {"succeeded"}
    assert cluster.simulator.calls()["served"] == len(starts) + len(others)


async def test_what_was_cancelled_before_a_runner_starts_is_known_before_its_first_call(cluster: Cluster) -> None:
    batch = f"batch_{uuid4().hex}"
    await cancel(cluster, batch)
    await asyncio.gather(*(cancel(cluster, f"batch_{uuid4().hex}") for _ in range(500)))
    await cluster.publisher.send(BATCHES_CANCELLED.name, b"nonsense", key=b"nonsense", partition=0)
    runs = [await cluster.publish(f"row {n}", batch_id=batch) for n in range(30)]
    async with cluster.runner():
        ended = await cluster.completed(*runs)
    for run in ended.values():
        assert_not_called(run)
    assert cluster.simulator.calls()["prompts"] == 0


async def test_what_waits_for_the_providers_limit_ends_when_its_batch_is_cancelled(cluster: Cluster) -> None:
    cluster.simulator.control(script=[{"kind": "rate_limited", "retry_after": 9}])
    batch = f"batch_{uuid4().hex}"
    async with cluster.runner():
        first = await cluster.publish("limited")
        async with asyncio.timeout(20):
            while not (calls := cluster.simulator.calls())["total"] or calls["in_flight"]:
                await asyncio.sleep(0.01)
        held = [await cluster.publish(f"row {n}", batch_id=batch) for n in range(20)]
        at = await cancel(cluster, batch)
        ended = await cluster.completed(*held, seconds=10)
        for run in ended.values():
            assert_not_called(run)
        assert max(run.completed_at for run in ended.values()) < at + 5_000
        await cluster.completed(first)
