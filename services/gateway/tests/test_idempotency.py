"""One Idempotency-Key is one run."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from services.gateway.tests.conftest import Body, Gateway, PlayedAnalytics, PlayedRunner, error_of

from common.contracts.answers_v1 import RunDetail, Success, TokensUsed
from common.ids import named_run_id
from common.kafka import OutcomeUnknown, Publisher

NAMED = {"idempotency-key": "order-7"}
ASYNC = {**NAMED, "prefer": "respond-async"}


def stored(run_id: str, **fields: object) -> bytes:
    """What analytics knows of a run."""
    run: Body = {
        "run_id": run_id, "status": "succeeded", "provider": "openai", "model": "gpt-4o", "prompt_id": None,
        "user": "admin", "accepted_at": "", "completed_at": "", "total_tokens": 15, "cost": "0.000123456789012345",
        "latency": 12, "error_code": None, "executions": 1, "operation": "chat", "labels": {}, "batch_id": None,
        "custom_id": None, "output": "Hello.", "response": None, "truncated": False, "finish_reason": "stop",
        "served_model": None, "service_tier": None, "cost_components": {}, "catalogue": None, "error": None,
        "usage": TokensUsed(input=10, output=5, cached=0, cache_writes=0, reasoning=0, total=15), "attempts": [],
        "queued_ms": 1, "key_id": None, "prompt_preview": "",
    }  # fmt: skip
    return Success[RunDetail](data=RunDetail.model_validate({**run, **fields})).encode()


async def test_the_id_follows_from_workspace_and_key(
    gateway: Gateway, runner: PlayedRunner, workspace_id: UUID
) -> None:
    answer = await gateway.run(NAMED)
    assert answer.json()["data"]["runId"] == str(named_run_id(str(workspace_id), "order-7"))


async def test_the_same_body_is_the_same_run(
    gateway: Gateway, runner: PlayedRunner, analytics: PlayedAnalytics
) -> None:
    first = await gateway.run(NAMED)
    run_id = first.json()["data"]["runId"]
    analytics.answers[f"runs/{run_id}"] = stored(run_id)
    again = await gateway.run(NAMED)
    assert again.status_code == 200
    assert again.content == first.content
    assert (await gateway.run(ASYNC)).json()["data"]["runId"] == run_id
    assert len(runner.requests) == 1
    asked = next(query for _, path, query in analytics.calls if path.endswith(run_id))
    assert asked == {"accepted_at": str(runner.requests[0].accepted_at)}


async def test_a_failure_is_answered_again(gateway: Gateway, runner: PlayedRunner, analytics: PlayedAnalytics) -> None:
    run_id = (await gateway.run(ASYNC)).json()["data"]["runId"]
    analytics.answers[f"runs/{run_id}"] = stored(run_id, status="failed", error_code="model_not_found", error="gone")
    answer = await gateway.run(NAMED)
    assert error_of(answer) == (404, "model_not_found")
    assert answer.json()["runId"] == run_id


async def test_a_repeated_request_waits_for_the_run(
    gateway: Gateway, runner: PlayedRunner, analytics: PlayedAnalytics
) -> None:
    run_id = (await gateway.run(ASYNC)).json()["data"]["runId"]
    analytics.answers[f"runs/{run_id}"] = stored(run_id, status="accepted", output=None, cost=None)
    waiting = asyncio.create_task(gateway.run(NAMED))
    while not any(path.endswith(run_id) for _, path, _ in analytics.calls):
        await asyncio.sleep(0.01)
    assert not waiting.done()
    analytics.answers[f"runs/{run_id}"] = stored(run_id, cost=None)
    body = (await waiting).json()["data"]
    assert (body["output"], body["cost"], body["priced"]) == ("Hello.", None, False)


async def test_another_body_is_refused(gateway: Gateway, runner: PlayedRunner) -> None:
    await gateway.run(NAMED)
    assert error_of(await gateway.run(NAMED, input="Say goodbye.")) == (409, "idempotency_conflict")
    assert len(runner.requests) == 1


async def test_the_key_is_the_workspaces_own(gateway: Gateway, runner: PlayedRunner) -> None:
    first = await gateway.run(NAMED)
    other = (await gateway.http.post("/api/workspaces", json={"name": "other"})).json()["data"]["id"]
    theirs = gateway.calling(await gateway.token("member", workspaceId=other))
    second = await gateway.run({**NAMED, **theirs}, input="Say goodbye.")
    assert second.json()["data"]["runId"] != first.json()["data"]["runId"]


async def test_without_an_acknowledgement_the_run_is_published_again(
    gateway: Gateway, runner: PlayedRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "send", _lost_acknowledgement(Publisher.send))
        lost = await gateway.run(ASYNC)
    assert (lost.status_code, lost.json()["code"]) == (503, "unavailable")
    answer = await gateway.run(NAMED)
    assert answer.json()["data"]["runId"] == lost.json()["runId"]
    first, second = runner.requests
    assert (first.run_id, first.accepted_at) == (second.run_id, second.accepted_at)
    assert second.publish_by > first.publish_by


def _lost_acknowledgement(send: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def lost(*args: Any, **kwargs: Any) -> None:
        await send(*args, **kwargs)
        raise OutcomeUnknown("the message broker does not answer", retry_after=5)

    return lost


async def test_requests_at_the_same_time_are_one_run(
    gateway: Gateway, runner: PlayedRunner, analytics: PlayedAnalytics
) -> None:
    answers = await asyncio.gather(*(gateway.run(ASYNC) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["data"]["runId"] for answer in answers}) == 1
    await gateway.run()  # read after them, so they have been read
    accepted = {request.accepted_at for request in runner.requests if request.run_id.version == 5}
    assert len(accepted) == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_has_1_to_255_characters(gateway: Gateway, key: str) -> None:
    answer = await gateway.run({"idempotency-key": key})
    assert error_of(answer) == (422, "invalid_request")
    assert "Idempotency-Key" in answer.json()["error"]


async def test_an_unknown_provider_claims_nothing(gateway: Gateway, runner: PlayedRunner) -> None:
    assert error_of(await gateway.run(NAMED, provider="nobody")) == (422, "invalid_request")
    assert (await gateway.run(NAMED)).status_code == 200
