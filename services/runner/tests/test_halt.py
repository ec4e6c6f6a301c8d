"""When reading on would set the backlog aside."""

import asyncio
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY
from services.runner.tests.cluster import Cluster

from common.contracts.topics import REJECTED, REQUESTED
from common.ids import new_id
from runner.halt import FAILURES, Halt, Halted

A, B, C = uuid4(), uuid4(), uuid4()


def test_failures_of_three_workspaces_in_a_row_halt() -> None:
    halt = Halt()
    for n in range(FAILURES - 1):
        halt.failed((A, B, C)[n % 3])
    with pytest.raises(Halted):
        halt.failed(A)
    with pytest.raises(Halted):
        halt.check()


def test_one_tenant_or_two_never_halt_others() -> None:
    halt = Halt()
    for n in range(10 * FAILURES):
        halt.failed((A, B)[n % 2])
    halt.check()


def test_a_run_in_between_begins_the_row_anew() -> None:
    halt = Halt()
    for n in range(10 * FAILURES):
        if n % (FAILURES - 1) == 0:
            halt.passed()
        halt.failed((A, B, C)[n % 3])
    halt.check()


def test_a_third_workspace_makes_a_long_row_ours() -> None:
    halt = Halt()
    for n in range(10 * FAILURES):
        halt.failed((A, B)[n % 2])
    with pytest.raises(Halted):
        halt.failed(C)


async def test_a_runner_halts_when_records_of_many_tenants_make_no_sense_and_keeps_the_offsets(
    cluster: Cluster,
) -> None:
    tenants = [cluster.granted(uuid4()) for _ in range(3)]
    poison = [new_id() for _ in range(80)]
    for n, run_id in enumerate(poison):
        await cluster.send_as(tenants[n % 3], REQUESTED.name, b"{not json", run_id, partition=7)
    good = await cluster.publish("behind", partition=7)
    async with cluster.runner() as app:
        async with asyncio.timeout(20):
            while (answer := await ready(app))[0] != 503 or "halted" not in answer[1]:
                await asyncio.sleep(0.05)
        assert REGISTRY.get_sample_value("tallyrun_runner_halted") == 1
        rejected = await cluster.records(REJECTED.name, set(poison[: FAILURES - 1]))
    behind = len(poison) + 1 - (FAILURES - 1)
    assert len({record.key for record in rejected}) == FAILURES - 1
    assert await cluster.lag() == behind
    assert cluster.simulator.calls()["total"] == 0
    assert good.run_id not in {UUID(bytes=record.key or b"") for record in rejected}


async def ready(app: FastAPI) -> tuple[int, str]:
    """Ask the runner's readiness."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://runner") as client:
        answer = await client.get("/health/ready")
        return answer.status_code, answer.text
