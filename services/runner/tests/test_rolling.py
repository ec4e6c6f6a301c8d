"""Runners come and go in the middle of calls: none is made again, and nobody waits for them."""

import asyncio
import signal
from itertools import cycle, islice
from uuid import UUID

import pytest
from services.runner.tests.cluster import Cluster, RunnerProcess

from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import COMPLETED, PARTITIONS

LONG_MS, SPREAD_MS = 2_000, 3_000
CHANGES = {"restarts one by one": 8_000, "one more": 14_000, "one less": 8_000}
"""And how long the slowest calls take meanwhile, in milliseconds: longer than a runner takes to start and to join."""


@pytest.mark.parametrize("times", [3, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
async def test_runners_come_and_go_and_no_call_is_made_again(cluster: Cluster, times: int) -> None:
    runs: list[RunRequested] = []
    async with cluster.runner_processes() as runners:
        await cluster.start_runner()
        for number, change in enumerate(islice(cycle(CHANGES), times)):
            runs += await changed_in_the_middle(cluster, number, change, runners)
        await cluster.completed(*runs)
    calls = cluster.simulator.calls()
    print(f"{times} changes, {len(runs)} runs, {calls['total'] - len(runs)} calls repeated")
    assert (calls["total"], calls["repeated"]) == (len(runs), {})


async def changed_in_the_middle(
    cluster: Cluster, number: int, change: str, runners: list[RunnerProcess]
) -> list[RunRequested]:
    """Change the runners while calls run; whatever is published then must not wait for those calls."""
    if change == "restarts one by one":
        await cluster.start_runner()
    rules = [{"prompt": "slowest", "latency_ms": CHANGES[change]}, {"prompt": "quick", "latency_ms": 20}]
    cluster.simulator.control(latency_ms=LONG_MS, jitter_ms=SPREAD_MS, rules=rules)
    before = cluster.simulator.calls()["total"]
    slowest = await one_in_each_partition(cluster, f"slowest {number}")
    long = await one_in_each_partition(cluster, f"long {number}")
    await until_total(cluster, before + len(slowest) + len(long))
    leaving = None
    if change == "one more":
        await cluster.start_runner()
    else:
        leaving = runners[0]
        leaving.send(signal.SIGTERM)
    quick = await one_in_each_partition(cluster, f"quick {number}")
    ended = await completed_in_order(cluster, [*slowest, *long, *quick])
    assert {c.status for c in ended.values()} == {"succeeded"}
    order = list(ended)
    quick_last, slow_first = (f(order.index(r.run_id) for r in runs) for f, runs in ((max, quick), (min, slowest)))
    assert quick_last < slow_first, f"change {number}, {change}"
    if leaving is not None:
        assert -await leaving.ended() in {0, signal.SIGTERM}
        runners.remove(leaving)
    return [*slowest, *long, *quick]


async def one_in_each_partition(cluster: Cluster, prompt: str) -> list[RunRequested]:
    return [await cluster.publish(f"{prompt} {n}", partition=n) for n in range(PARTITIONS)]


async def until_total(cluster: Cluster, total: int) -> None:
    async with asyncio.timeout(30):
        while cluster.simulator.calls()["total"] < total:
            await asyncio.sleep(0.02)


async def completed_in_order(cluster: Cluster, runs: list[RunRequested]) -> dict[UUID, RunCompleted]:
    """Return the runs' ends in the order of their appends."""
    records = await cluster.records(COMPLETED.name, {run.run_id for run in runs})
    records.sort(key=lambda record: record.timestamp)
    ends = [RunCompleted.model_validate_json(record.value or b"") for record in records]
    return {end.run_id: end for end in ends}
