"""The promise: kill the runner whenever you like, and every run ends in the books, once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer
from tests.stack import Client, Simulator, Stack, until
from tests.test_recovery import kill

from common.contracts.event import GRANT_HEADER, TYPE_HEADER
from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import BATCHED, COMPLETED
from common.identity import Signer
from common.ids import new_id, now_ms
from common.kafka import Publisher
from tests.conftest import RUNNER_SLOTS

RUNS = 3000
KILLS = 3
HOUR_MS = 3_600_000


@pytest.mark.timeout(300)  # a killed member holds its partitions until its session ends, ten seconds a kill
def test_killing_the_runner_loses_no_run_and_repeats_no_more_than_was_in_flight(
    stack: Stack, client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, latency_ms=60)
    simulator.forget()
    workspace = UUID(client.call("GET", "/api/workspaces").data[0]["id"])
    asyncio.run(publish(stack, workspace, unique))
    seed = random.randrange(2**32)
    for number, after in enumerate(sorted(random.Random(seed).sample(range(100, RUNS - 400), KILLS))):
        until(lambda least=after: simulator.calls()["served"] >= least, f"kill {number}: {after} served", 90)  # type: ignore[misc]
        kill(stack, "runner")
    completed = asyncio.run(all_completed(stack, workspace))
    calls, overview = simulator.calls(), client.counted()["overview"]
    print(f"seed {seed}: {RUNS} runs, {KILLS} kills, {calls['total'] - RUNS} calls repeated")
    assert set(Counter(c.run_id for c in completed).values()) == {1}
    assert {c.status for c in completed} == {"succeeded"}
    assert calls["total"] - RUNS <= KILLS * RUNNER_SLOTS
    assert overview["totalRuns"] == RUNS
    assert overview["totalTokens"] == sum(c.usage.input + c.usage.output for c in completed)
    assert overview["totalCost"] == sum((c.cost.total or Decimal(0) for c in completed), Decimal(0))


async def publish(stack: Stack, workspace: UUID, unique: str) -> None:
    """Publish the runs as an internal service would: straight to Kafka, with a grant for the workspace."""
    grant = Signer.load("gateway", stack.home / "identity" / "gateway").grant(workspace, ("openai",), 2**31).encode()
    publisher = Publisher(stack.kafka, linger_ms=5)
    await publisher.start()
    await asyncio.gather(*(_publish(publisher, workspace, f"{n} {unique}", grant) for n in range(RUNS)))
    await publisher.close()


async def _publish(publisher: Publisher, workspace: UUID, prompt: str, grant: bytes) -> None:
    now, body = now_ms(), {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}]}
    request = RunRequested(
        run_id=new_id(), workspace_id=workspace, operation="chat", provider="openai", model="gpt-4o-mini", body=body,
        deadline=now + HOUR_MS, publish_by=now + HOUR_MS, accepted_at=now,
    )  # fmt: skip
    headers = [*request.headers(), (GRANT_HEADER, grant)]
    await publisher.send(BATCHED.name, request.encode(), key=request.run_id.bytes, headers=headers)


async def all_completed(stack: Stack, workspace: UUID) -> list[RunCompleted]:
    """Return the workspace's completions once there is one for each run."""
    completed: list[RunCompleted] = []
    async with asyncio.timeout(120), _completions(stack) as consumer:
        while len(completed) < RUNS:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found = [r for r in records if dict(r.headers).get(TYPE_HEADER) == RunCompleted.TYPE.encode()]
                ends = [RunCompleted.model_validate_json(record.value or b"") for record in found]
                completed += [end for end in ends if end.workspace_id == workspace and end.operation != "check"]
    return completed


@asynccontextmanager
async def _completions(stack: Stack) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(COMPLETED.name, bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
    await consumer.start()
    yield consumer
    await consumer.stop()
