"""What is taken back stops being used: no provider call starts on it later than a second after the answer."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.runners import all_completed, publish
from tests.stack import Client, Simulator, Stack, until
from tests.test_recovery import kill

from common.ids import now_ms
from embedded.simulator.prompt import digest

RUNS = 1_500
CALLED_BEFORE = 150
LATEST_MS = 1_000
SECONDS = 100


@pytest.fixture
def key() -> str:
    return f"key-{uuid4().hex}"


@pytest.fixture
def owner(stranger: Client, key: str) -> Client:
    """An admin of a fresh workspace, whose one key is this."""
    assert stranger.connect("openai", key).status == 200
    return stranger


def grant_of(owner: Client) -> Any:
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return owner.call("POST", "/api/grants", {"name": "nightly", "providers": ["openai"], "expiresAt": expires}).data


def load(stack: Stack, simulator: Simulator, grant: Any, unique: str, runs: int) -> None:
    """Publish runs under the grant, and return while they are carried out."""
    simulator.when(unique, latency_ms=100)
    simulator.forget()
    asyncio.run(publish(stack, UUID(grant["workspaceId"]), f"{unique} {{}}".format, range(runs), grant["grant"]))
    until(lambda: simulator.calls()["total"] >= CALLED_BEFORE, "runs are under way")


def check_stopped(
    stack: Stack, simulator: Simulator, grant: Any, key: str, answered_ms: int, code: str, runs: int
) -> None:
    """Every run ended, those that were not called any more with the code, and none was called too late."""
    ends = asyncio.run(all_completed(stack, UUID(grant["workspaceId"]), runs, SECONDS))
    late = simulator.calls()["last_called"][digest(key)] - answered_ms
    outcomes = Counter(end.error.code if end.error else end.status for end in ends)
    print(f"{runs} runs: {dict(outcomes)}; the last call started {late} ms after the answer")
    assert late <= LATEST_MS
    assert set(outcomes) == {"succeeded", code}
    assert {end.status for end in ends if end.error} == {"failed"}
    assert all(not end.attempts for end in ends if end.error), "none that failed had been called"


def test_a_deactivated_key_is_called_no_more(
    stack: Stack, owner: Client, simulator: Simulator, key: str, unique: str
) -> None:
    grant = grant_of(owner)
    key_id = owner.call("GET", "/api/integrations/keys").data[0]["id"]
    load(stack, simulator, grant, unique, RUNS)
    assert owner.call("DELETE", f"/api/integrations/keys/{key_id}").status == 200
    check_stopped(stack, simulator, grant, key, now_ms(), "no_api_key", RUNS)


def test_a_revoked_grant_is_honoured_no_more_by_a_restarted_runner_either(
    stack: Stack, owner: Client, simulator: Simulator, key: str, unique: str
) -> None:
    grant = grant_of(owner)
    load(stack, simulator, grant, unique, RUNS)
    assert owner.call("DELETE", f"/api/grants/{grant['id']}").status == 200
    check_stopped(stack, simulator, grant, key, now_ms(), "grant_refused", RUNS)
    assert owner.call("GET", "/api/grants").data[0]["state"] == "revoked"

    before = simulator.calls()["total"]
    kill(stack, "runner")
    asyncio.run(publish(stack, UUID(grant["workspaceId"]), f"late {unique} {{}}".format, range(20), grant["grant"]))
    ends = asyncio.run(all_completed(stack, UUID(grant["workspaceId"]), RUNS + 20, SECONDS))
    late = [end for end in ends if end.prompt_preview.startswith("late")]
    assert [(end.status, end.error.code if end.error else None) for end in late] == [("failed", "grant_refused")] * 20
    assert simulator.calls()["total"] == before
    assert owner.run("openai", "gpt-4.1", unique).status == 200, "the workspace's own runs go on"
