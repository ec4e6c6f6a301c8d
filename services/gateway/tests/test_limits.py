"""What a workspace may use: over it callers hear so at once, and nothing of their request was begun."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest
from prometheus_client import REGISTRY
from services.gateway.tests.conftest import (
    PROMPT,
    Gateway,
    PlayedAnalytics,
    PlayedRunner,
    SettingsFor,
    error_of,
    running,
)

from common.contracts.waiting_v1 import Waiting
from common.errors import QuotaExceeded
from common.ids import now_ms
from gateway.quota import waiting as waiting_module
from gateway.quota.limits import Limits
from gateway.quota.rate import HANDFUL_SECONDS, RunRate
from gateway.quota.waiting import WaitingRuns
from gateway.store import Store
from gateway.tokens import hashed

ASYNC = {"prefer": "respond-async"}
LATER = 0.001
"""Runs a second: within a test, none is added."""


async def limit(gateway: Gateway, workspace_id: UUID, **limits: Any) -> Any:
    answer = await gateway.http.put(f"/api/workspaces/{workspace_id}/limits", json=limits)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def shown(gateway: Gateway, workspace_id: UUID) -> Any:
    return (await gateway.http.get(f"/api/workspaces/{workspace_id}/limits")).json()["data"]


async def accepted(gateway: Gateway, times: int, **headers: str) -> list[httpx2.Response]:
    return [await gateway.run({**ASYNC, **headers}) for _ in range(times)]


def refused_for(what: str) -> float:
    return REGISTRY.get_sample_value("tallyrun_gateway_refused_requests_total", {"limit": what}) or 0


async def test_beyond_the_burst_runs_are_refused_with_when_to_come_again(
    gateway: Gateway, runner: PlayedRunner, workspace_id: UUID
) -> None:
    await limit(gateway, workspace_id, runsPerSecond=0.5, burstRuns=3)
    before = refused_for("rate")
    answers = await accepted(gateway, 5)
    assert refused_for("rate") == before + 2
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429, 429]
    refused = answers[-1]
    assert error_of(refused) == (429, "quota_exceeded")
    assert "0.5 runs a second" in refused.json()["error"]
    told = {name: refused.headers[name] for name in refused.headers if "ratelimit" in name or name == "retry-after"}
    assert told == {
        "retry-after": "2",
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "6s",
    }
    assert len(runner.requests) == 3


async def test_the_compatible_surface_says_it_in_its_own_shape(
    gateway: Gateway, runner: PlayedRunner, workspace_id: UUID, connected_openai: None
) -> None:
    await limit(gateway, workspace_id, runsPerSecond=LATER, burstRuns=1)
    body = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    await accepted(gateway, 1)
    refused = await gateway.http.post("/v1/chat/completions", json=body)
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "rate_limit_error")
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.fixture
def connected_openai(vault: Any) -> None:
    vault.keys["k"] = {
        "id": "00000000-0000-0000-0000-000000000001", "provider": "openai", "name": "default", "preview": "1234",
        "version": 1, "is_active": True, "verified": True, "created_at": 1, "expires_at": None, "state": "active",
    }  # fmt: skip


async def test_a_run_that_is_answered_again_costs_nothing_and_a_refused_one_leaves_nothing(
    gateway: Gateway, runner: PlayedRunner, workspace_id: UUID, sql: asyncpg.Connection
) -> None:
    await limit(gateway, workspace_id, runsPerSecond=LATER, burstRuns=2)
    named = {"idempotency-key": "first"}
    answers = await accepted(gateway, 4, **named)
    assert [answer.status_code for answer in answers] == [202] * 4
    assert [answer.status_code for answer in await accepted(gateway, 1)] == [202]
    assert error_of(await gateway.run({**ASYNC, "idempotency-key": "second"})) == (429, "quota_exceeded")
    assert await sql.fetchval("SELECT count(*) FROM idempotency_keys") == 1
    assert len(runner.requests) == 2


async def test_one_workspaces_flood_is_not_anothers(
    gateway: Gateway, runner: PlayedRunner, settings_for: SettingsFor, workspace_id: UUID
) -> None:
    other = (await gateway.http.post("/api/workspaces", json={"name": "other"})).json()["data"]["id"]
    headers = gateway.calling(await gateway.token("member", workspaceId=other))
    await limit(gateway, workspace_id, runsPerSecond=LATER, burstRuns=1)
    assert [answer.status_code for answer in await accepted(gateway, 2)] == [202, 429]
    answer = await gateway.http.post("/api/integrations/run", json=PROMPT, headers={**headers, **ASYNC})
    assert answer.status_code == 202


async def test_limits_are_the_operators_to_set_and_the_workspaces_to_see(
    kafka: str, settings_for: SettingsFor, runner: PlayedRunner
) -> None:
    settings = settings_for(kafka_bootstrap_servers=kafka, workspace_runs_per_second=4, workspace_stored_bytes=1000)
    async with running(settings) as gateway:
        mine = (await gateway.http.get("/api/workspaces")).json()["data"][0]["id"]
        viewer, admin = [gateway.calling(await gateway.token(role)) for role in ("viewer", "admin")]
        path = f"/api/workspaces/{mine}/limits"
        assert error_of(await gateway.http.put(path, json={}, headers=admin)) == (403, "forbidden")
        await accepted(gateway, 3)
        seen = (await gateway.http.get(path, headers=viewer)).json()["data"]
        assert seen["burstRuns"] == {"limit": 40, "used": None, "default": True}
        assert seen["storedBytes"] == {"limit": 1000, "used": 0, "default": True}
        assert seen["waitingRuns"] == {"limit": None, "used": None, "default": True}
        assert seen["runsPerSecond"]["limit"] == 4
        assert 0 < seen["runsPerSecond"]["used"] <= 3
        set_ = await limit(gateway, mine, runsPerSecond=2, bodyBytes=2048)
        assert (set_["runsPerSecond"]["limit"], set_["burstRuns"]["limit"]) == (2, 20)
        assert (set_["runsPerSecond"]["default"], set_["storedBytes"]["default"]) == (False, True)
        elsewhere = "/api/workspaces/00000000-0000-0000-0000-000000000000/limits"
        assert error_of(await gateway.http.get(elsewhere, headers=viewer)) == (403, "forbidden")
        for method in ("PUT", "GET"):
            assert error_of(await gateway.http.request(method, elsewhere, json={})) == (404, "not_found")
        for wrong in ({"runsPerSecond": 0}, {"bodyBytes": 9 * 1024 * 1024}, {"runs": 1}, {"waitingRuns": -1}):
            assert error_of(await gateway.http.put(path, json=wrong)) == (422, "invalid_request")


async def test_a_workspaces_bodies_may_be_smaller(
    gateway: Gateway, runner: PlayedRunner, workspace_id: UUID, sql: asyncpg.Connection
) -> None:
    await limit(gateway, workspace_id, bodyBytes=2048)
    assert error_of(await gateway.run({"idempotency-key": "large"}, input="x" * 2048)) == (413, "too_large")
    assert await sql.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    assert (await gateway.run(input="x" * 500)).status_code == 200


async def test_waiting_runs_are_counted_and_those_accepted_since(
    gateway: Gateway,
    runner: PlayedRunner,
    analytics: PlayedAnalytics,
    workspace_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def counted(runs: int) -> None:
        told = f'{{"success":true,"data":{{"runs":{runs},"readUpTo":{now_ms()}}}}}'
        analytics.answers["waiting"] = told.encode()

    counted(2)
    await limit(gateway, workspace_id, waitingRuns=4)
    assert (await shown(gateway, workspace_id))["waitingRuns"] == {"limit": 4, "used": 2, "default": False}
    await accepted(gateway, 1)
    while ("GET", f"/workspaces/{workspace_id}/waiting", {}) not in analytics.calls[1:]:
        await asyncio.sleep(0.01)
    answers = await accepted(gateway, 4)
    assert 429 in [answer.status_code for answer in answers]
    assert error_of(answers[-1]) == (429, "quota_exceeded")
    assert (answers[-1].headers["retry-after"], answers[-1].headers["x-ratelimit-limit-requests"]) == ("5", "4")
    counted(0)
    monkeypatch.setattr(waiting_module, "FRESH_SECONDS", 0.0)
    async with asyncio.timeout(10):
        while (await gateway.run(ASYNC)).status_code != 202:
            await asyncio.sleep(0.05)


class Line:
    """A count that the test sets."""

    def __init__(self) -> None:
        self.runs = 0

    async def waiting(self, workspace_id: UUID) -> Waiting:
        return Waiting(runs=self.runs, read_up_to=now_ms() + 1000)


async def test_nobody_is_refused_while_nobody_counts(
    gateway: Gateway, runner: PlayedRunner, workspace_id: UUID
) -> None:
    await limit(gateway, workspace_id, waitingRuns=1)  # the played analytics answers 404
    assert (await shown(gateway, workspace_id))["waitingRuns"]["used"] is None
    await accepted(gateway, 1)
    async with asyncio.timeout(10):
        while (await gateway.run(ASYNC)).status_code != 202:
            await asyncio.sleep(0.05)


async def test_what_analytics_has_counted_is_not_counted_twice(workspace_id: UUID) -> None:
    line = Line()
    waiting = WaitingRuns(line)
    for _ in range(3):
        waiting.check(workspace_id, 3)
        waiting.note(workspace_id)
    with pytest.raises(QuotaExceeded):
        waiting.check(workspace_id, 3)
    await asyncio.sleep(0)  # the question that the first check asked is answered
    waiting.check(workspace_id, 3)


async def test_a_workspace_without_a_limit_is_not_counted(workspace_id: UUID) -> None:
    waiting = WaitingRuns(Line())
    waiting.check(workspace_id, 3)  # a limit, which is then taken away
    waiting.check(workspace_id, None)
    for _ in range(3):
        waiting.note(workspace_id)
    waiting.check(workspace_id, 3)


@pytest.fixture
async def replicas(database: str) -> AsyncIterator[list[Store]]:
    stores = [Store(database) for _ in range(3)]
    await stores[0].start(hashed("secret"), migrate=True)
    yield stores
    for store in stores:
        await store.close()


async def test_replicas_share_one_bucket_exactly(replicas: list[Store]) -> None:
    (home,) = await replicas[0].workspaces(None)
    limits, seconds = Limits(runs_per_second=200, burst_runs=100), 2.0
    rates = [RunRate(store.limits) for store in replicas]
    begun = time.monotonic()

    async def greedy(rate: RunRate) -> int:
        accepted = 0
        while time.monotonic() < begun + seconds:
            try:
                await rate.spend(home.id, limits)
                accepted += 1
            except QuotaExceeded:
                await asyncio.sleep(0.001)
        return accepted

    counts = await asyncio.gather(*(greedy(rate) for rate in rates))
    took = time.monotonic() - begun
    total, most = sum(counts), 100 + 200 * took + 3 * 200 * HANDFUL_SECONDS
    print(f"{counts} of three replicas, {total} in {took:.2f} s; {100 + 200 * took:.0f} fill the bucket")
    assert 100 + 200 * seconds * 0.8 < total <= most
    assert min(counts) > 0


async def test_batches_leave_callers_half_of_the_burst(replicas: list[Store]) -> None:
    (home,) = await replicas[0].workspaces(None)
    limits = Limits(runs_per_second=LATER, burst_runs=10)
    first, second = (RunRate(store.limits) for store in replicas[:2])
    assert [await first.share(home.id, limits, most) for most in (3, 100, 100)] == [3, 2, 0]
    for _ in range(5):
        await second.spend(home.id, limits)
    with pytest.raises(QuotaExceeded):
        await second.spend(home.id, limits)
    second.give_back(home.id, 1)
    await second.spend(home.id, limits)
    assert await first.share(home.id, Limits(), 100) == 100


async def test_a_quota_costs_a_busy_workspace_four_statements_a_second(replicas: list[Store]) -> None:
    (home,) = await replicas[0].workspaces(None)
    asked = 0
    table = replicas[0].limits

    class Counting:
        async def take(self, *arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            return await table.take(*arguments)

    rate, limits = RunRate(Counting()), Limits(runs_per_second=100_000, burst_runs=100_000)
    begun = time.perf_counter()
    for _ in range(50_000):
        await rate.spend(home.id, limits)
    spent = time.perf_counter() - begun
    assert asked == 2
    begun = time.perf_counter()
    for _ in range(100):
        await table.take(home.id, 1, 1, 1, 0.0)
    print(f"{spent / 50_000 * 1e6:.2f} µs a run; {(time.perf_counter() - begun) * 10:.2f} ms a statement")
