"""The promise: kill the runner whenever you like, and every run ends in the books, once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from uuid import UUID

import psutil
import pytest
from aiokafka import AIOKafkaConsumer
from tests.stack import Client, Simulator, Stack, request, until
from tests.test_recovery import kill

from common.contracts.event import GRANT_HEADER, TYPE_HEADER
from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import BATCHED, COMPLETED
from common.engines.ports import free_port
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


@pytest.mark.timeout(300)
def test_a_frozen_runner_starts_nothing_when_it_wakes(
    stack: Stack, client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, latency_ms=60)
    workspace = UUID(client.call("GET", "/api/workspaces").data[0]["id"])
    with second_runner(stack) as second:
        until(lambda: ready(second), "the second runner is up")
        simulator.forget()
        asyncio.run(publish(stack, workspace, unique))
        until(lambda: simulator.calls()["served"] >= 200, "200 served")
        with frozen(stack.pid("runner")):
            completed = asyncio.run(all_completed(stack, workspace))
        until(lambda: simulator.calls()["in_flight"] == 0, "all calls have ended")
        executions = asyncio.run(all_completed(stack, workspace))
    calls, overview = simulator.calls(), client.counted()["overview"]
    print(f"{calls['total'] - RUNS} calls repeated, {len(executions) - RUNS} of them with an answer")
    assert {c.run_id for c in completed} == {c.run_id for c in executions}
    assert len({c.run_id for c in completed}) == RUNS
    assert calls["total"] - RUNS <= RUNNER_SLOTS
    assert overview["totalRuns"] == RUNS
    assert overview["repeatedExecutions"] == len(executions) - RUNS
    assert overview["totalCost"] == sum((c.cost.total or Decimal(0) for c in executions), Decimal(0))


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop the process without ending it, as a paused machine does; nobody is told."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def second_runner(stack: Stack) -> Iterator[int]:
    """Run one more runner beside the stack's, with the same environment; yield its port."""
    port = free_port()
    environment = {**psutil.Process(stack.pid("runner")).environ(), "RUNNER_PORT": str(port)}
    with (stack.home / "logs" / "second-runner.log").open("wb") as log:
        runner = subprocess.Popen([sys.executable, "-m", "runner"], env=environment, stderr=log)
    try:
        yield port
    finally:
        runner.terminate()
        runner.wait()


def ready(port: int) -> bool:
    """Whether the runner with this port is up."""
    try:
        return request("GET", f"http://127.0.0.1:{port}/health/ready").status == 200
    except OSError:
        return False


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
    """Return the workspace's completions once there is one for each run; then every one that is there."""
    completed: list[RunCompleted] = []
    async with asyncio.timeout(120), _completions(stack) as consumer:
        while len({c.run_id for c in completed}) < RUNS or await _behind(consumer):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found = [r for r in records if dict(r.headers).get(TYPE_HEADER) == RunCompleted.TYPE.encode()]
                ends = [RunCompleted.model_validate_json(record.value or b"") for record in found]
                completed += [end for end in ends if end.workspace_id == workspace and end.operation != "check"]
    return completed


async def _behind(consumer: AIOKafkaConsumer) -> bool:
    ends = await consumer.end_offsets(consumer.assignment())
    return any([end > await consumer.position(partition) for partition, end in ends.items()])


@asynccontextmanager
async def _completions(stack: Stack) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(COMPLETED.name, bootstrap_servers=stack.kafka, auto_offset_reset="earliest")
    async with consumer:
        yield consumer
