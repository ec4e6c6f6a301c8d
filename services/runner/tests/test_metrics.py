"""What operators see of a runner: how far behind it is, what is parked, and no more series than were promised."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from services.runner.tests.cluster import Cluster

from common.contracts.runs_v1 import Attempt, Cost, RunCompleted
from common.contracts.topics import BATCHED, REQUESTED
from runner import app, consumer
from runner.metrics import MOST_MODELS, Models, ended

PARTITION = 5


def said(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.05)


async def test_a_runner_says_how_far_behind_it_is_and_only_of_its_partitions(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LAG_SECONDS", 0.1)
    lag, place = "tallyrun_runner_consumer_lag_records", {"topic": REQUESTED.name, "partition": str(PARTITION)}
    cluster.simulator.control(latency_ms=3000)
    runs = [await cluster.publish(f"slow {number}", partition=PARTITION) for number in range(4)]
    async with cluster.runner():
        await until(lambda: said(lag, **place) == 4)
        await cluster.completed(*runs)
        await until(lambda: said(lag, **place) == 0)
    assert said("tallyrun_runner_runs_ended_total", provider="openai", status="succeeded") >= 4


async def test_bulk_beyond_a_share_is_seen_parked_and_then_carried_out(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "MOST_BULK", 4)
    cluster.simulator.control(latency_ms=500)
    other = uuid4()
    runs = [await cluster.publish(f"{n}", topic=BATCHED.name, partition=PARTITION) for n in range(12)]
    runs += [await cluster.publish("other", topic=BATCHED.name, partition=PARTITION, workspace_id=other)]
    async with cluster.runner():
        await until(lambda: said("tallyrun_runner_records_parked") > 0)
        await cluster.completed(*runs)
        await until(lambda: said("tallyrun_runner_records_parked") == 0)


def test_an_order_is_no_run() -> None:
    def counted() -> float:
        return said("tallyrun_runner_queued_seconds_count", kind="bulk")

    attempt = Attempt(number=1, started_at=1, latency_ms=1, outcome="known")
    ids = dict.fromkeys(("run_id", "execution_id", "workspace_id"), uuid4())
    run = RunCompleted(
        **ids, provider="openai", model="gpt-4o", operation="batch", status="succeeded", response="",
        accepted_at=1, completed_at=2, cost=Cost(priced=False), attempts=[attempt],
    )  # fmt: skip
    before = counted()
    ended(run, bulk=True)
    assert counted() == before
    ended(run.model_copy(update={"operation": "chat"}), bulk=True)
    assert counted() == before + 1


def test_a_model_has_a_series_once_it_has_answered_and_there_are_so_many_at_most() -> None:
    models = Models()
    assert models.name("openai", "made-up", answered=False) == "other"
    assert models.name("openai", "gpt-4o", answered=True) == "gpt-4o"
    assert models.name("openai", "gpt-4o", answered=False) == "gpt-4o"
    assert models.name("anthropic", "gpt-4o", answered=False) == "other", "a name is a provider's"
    named = {models.name("openai", f"tuned-{number}", answered=True) for number in range(3 * MOST_MODELS)}
    assert len(named) == MOST_MODELS, "and one of them is 'other'"
    assert models.name("openai", "gpt-4o", answered=False) == "gpt-4o"
