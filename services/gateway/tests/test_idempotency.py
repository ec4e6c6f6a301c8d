"""One Idempotency-Key is one run."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx2
import pytest
from services.gateway.tests.conftest import (
    PROMPT,
    Body,
    Gateway,
    PlayedAnalytics,
    PlayedRunner,
    SettingsFor,
    completed,
    error_of,
    running,
)
from sqlalchemy import text

from common.contracts.answers_v1 import RunDetail, Success, TokensUsed
from common.contracts.runs_v1 import RunCompleted, RunError, RunRequested
from common.errors import Unavailable
from common.ids import named_run_id, new_id, now_ms
from common.kafka import OutcomeUnknown, Publisher
from common.periodic import repeating
from gateway.claims import KEPT_MS, Claim, claimed_ticket, prune_old
from gateway.prompts import Prompt
from gateway.store import PRUNING_LOCK, Store

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


def replayed(answer: httpx2.Response) -> bool:
    """Whether the answer says that it is an earlier run's."""
    return answer.headers.get("idempotent-replayed") == "true"


async def test_the_id_follows_from_workspace_key_and_time(
    gateway: Gateway, runner: PlayedRunner, workspace_id: UUID
) -> None:
    answer = await gateway.run(NAMED)
    time = str(runner.requests[0].accepted_at)
    assert answer.json()["data"]["runId"] == str(named_run_id(str(workspace_id), "order-7", time))


async def test_the_same_body_is_the_same_run(
    gateway: Gateway, runner: PlayedRunner, analytics: PlayedAnalytics
) -> None:
    first = await gateway.run(NAMED)
    run_id = first.json()["data"]["runId"]
    analytics.answers[f"runs/{run_id}"] = stored(run_id)
    again = await gateway.run(NAMED)
    accepted = await gateway.run(ASYNC)
    assert (again.status_code, again.content) == (200, first.content)
    assert (accepted.status_code, accepted.json()["data"]["runId"]) == (202, run_id)
    assert [replayed(answer) for answer in (first, again, accepted)] == [False, True, True]
    assert len(runner.requests) == 1
    asked = next(query for _, path, query in analytics.calls if path.endswith(run_id))
    assert asked == {"accepted_at": str(runner.requests[0].accepted_at)}


async def test_a_failure_is_answered_again(gateway: Gateway, runner: PlayedRunner, analytics: PlayedAnalytics) -> None:
    gone = RunError(code="model_not_found", message="gone")
    runner.script = lambda request: completed(request, status="failed", error=gone)
    first = await gateway.run(NAMED)
    run_id = first.json()["runId"]
    analytics.answers[f"runs/{run_id}"] = stored(run_id, status="failed", error_code="model_not_found", error="gone")
    again = await gateway.run(NAMED)
    assert error_of(first) == (404, "model_not_found")
    assert (again.status_code, again.content) == (404, first.content)
    assert again.headers["x-should-retry"] == "false"
    assert [replayed(answer) for answer in (first, again)] == [False, True]
    assert len(runner.requests) == 1


async def test_no_result_yet_is_nothing_to_replay(
    kafka: str, settings_for: SettingsFor, runner: PlayedRunner, analytics: PlayedAnalytics
) -> None:
    runner.script = lambda _: None
    async with running(settings_for(kafka_bootstrap_servers=kafka, sync_wait_seconds=0.3)) as gateway:
        answers = [await gateway.run(NAMED), await gateway.run(NAMED)]
        assert [error_of(answer) for answer in answers] == [(504, "still_running")] * 2
        assert not any(replayed(answer) for answer in answers)
        run_id = answers[0].json()["runId"]
        analytics.answers[f"runs/{run_id}"] = stored(run_id)
        last = await gateway.run(NAMED)
    assert (last.json()["data"]["runId"], replayed(last)) == (run_id, True)
    assert len(runner.requests) == 1


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


async def test_a_run_that_never_reached_the_log_is_no_run_until_it_is_sent_again(
    gateway: Gateway, runner: PlayedRunner, analytics: PlayedAnalytics, workspace_id: UUID, database: str
) -> None:
    claims = Store(database)
    body = Prompt.model_validate(PROMPT).model_dump_json(exclude_defaults=True).encode()
    ticket = await claimed_ticket(claims, workspace_id, "order-7", body)  # and the gateway is killed
    path = f"/api/runs/{ticket.run_id}"
    never = await gateway.http.get(path)
    assert error_of(never) == (404, "not_found")
    assert "never accepted: send its request again" in never.json()["error"]
    assert (await gateway.run(ASYNC)).json()["data"]["runId"] == str(ticket.run_id)
    assert "never accepted" not in (await gateway.http.get(path)).text
    await gateway.run()  # read after it, so it has been read
    assert runner.requests[0].accepted_at == ticket.accepted_at
    # Analytics says 404 only once it has read past the last attempt, not the first.
    first, last = (int(query["accepted_at"]) for _, asked, query in analytics.calls if asked.endswith(path[9:]))
    assert first == ticket.accepted_at < last
    await claims.close()


async def test_accepted_at_the_same_time_they_are_one_run(gateway: Gateway, runner: PlayedRunner) -> None:
    answers = await asyncio.gather(*(gateway.run(ASYNC) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["data"]["runId"] for answer in answers}) == 1
    await gateway.run()  # read after them, so they have been read
    assert len({request.accepted_at for request in runner.requests if request.run_id.version == 5}) == 1


async def test_waited_for_at_the_same_time_they_have_one_result(
    gateway: Gateway, kafka: str, settings_for: SettingsFor, runner: PlayedRunner, analytics: PlayedAnalytics
) -> None:
    def once(request: RunRequested) -> RunCompleted | None:
        """As a runner does: only the first request of a run is carried out, and answered."""
        run_id = str(request.run_id)
        again = f"runs/{run_id}" in analytics.answers
        analytics.answers[f"runs/{run_id}"] = stored(run_id)
        return None if again else completed(request)

    runner.script = once
    async with running(settings_for(kafka_bootstrap_servers=kafka)) as elsewhere:
        answers = await asyncio.gather(*(replica.run(NAMED) for replica in (gateway, elsewhere) * 3))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert [replayed(answer) for answer in answers].count(False) == 1


async def test_an_old_key_is_forgotten_and_names_another_run(
    gateway: Gateway, runner: PlayedRunner, database: str
) -> None:
    first = (await gateway.run(NAMED)).json()["data"]["runId"]
    claims = Store(database)
    assert await claims.prune(now_ms() - KEPT_MS, 10) == 0
    assert await claims.prune(now_ms() + 1, 10) == 1
    another = await gateway.run(NAMED, input="Say goodbye.")
    assert (another.status_code, replayed(another)) == (200, False)
    assert another.json()["data"]["runId"] != first
    await claims.close()


async def test_keys_are_pruned_oldest_first_so_many_at_once_by_one_replica(
    gateway: Gateway, workspace_id: UUID, database: str
) -> None:
    claims, now = Store(database), now_ms()
    old = [Claim(new_id(), workspace_id, b"", now - age, now - age) for age in range(9, 0, -1)]
    for number, claim in enumerate(old):
        assert await claims.claim(claim, f"old {number}") is None
    await claims.claim_again(old[0].run_id, now)  # it is being sent once more
    async with claims._session() as session:  # another replica prunes
        await session.execute(text(f"SELECT pg_advisory_xact_lock({PRUNING_LOCK})"))
        assert await claims.prune(now, 5) == 0
    assert await claims.prune(now, 5) == 5
    left = [claim for claim in old if await claims.claim_of(workspace_id, claim.run_id)]
    assert left == [old[0], *old[6:]]
    assert [await claims.prune(now, 5), await claims.prune(now, 5)] == [3, 0]
    await claims.close()


async def test_pruning_goes_on_until_nothing_is_old() -> None:
    class Keys:
        """Many old keys, and a database that is away at first."""

        asked: list[int] = []

        async def prune(self, tried_before: int, limit: int) -> int:
            self.asked.append(tried_before)
            match len(self.asked):
                case 1:
                    raise Unavailable("away")
                case 2:
                    return limit
            done.set()
            return 1

    done, keys = asyncio.Event(), Keys()
    async with repeating(lambda: prune_old(keys), 0):  # type: ignore[arg-type] # all that it needs
        await asyncio.wait_for(done.wait(), 5)
    assert abs(keys.asked[0] - (now_ms() - KEPT_MS)) < 5_000


async def test_a_body_that_is_too_large_claims_nothing(
    gateway: Gateway, runner: PlayedRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("gateway.publish.MAX_VALUE_BYTES", 100)
        assert error_of(await gateway.run(NAMED)) == (413, "too_large")
    answer = await gateway.run(NAMED, input="Shorter.")
    assert (answer.status_code, replayed(answer)) == (200, False)


async def test_a_body_that_no_runner_could_read_claims_nothing(gateway: Gateway, runner: PlayedRunner) -> None:
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    refused = await gateway.run(NAMED, input=None, messages=[{"role": "user", "content": deep}])
    assert error_of(refused) == (422, "invalid_request")
    answer = await gateway.run(NAMED, input="Flat.")
    assert (answer.status_code, replayed(answer)) == (200, False)


async def test_an_invalid_request_claims_nothing(gateway: Gateway, runner: PlayedRunner) -> None:
    assert error_of(await gateway.run(NAMED, temperature=9)) == (422, "invalid_request")
    assert (await gateway.run(NAMED)).status_code == 200


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_has_1_to_255_characters(gateway: Gateway, key: str) -> None:
    answer = await gateway.run({"idempotency-key": key})
    assert error_of(answer) == (422, "invalid_request")
    assert "Idempotency-Key" in answer.json()["error"]


async def test_an_unknown_provider_claims_nothing(gateway: Gateway, runner: PlayedRunner) -> None:
    assert error_of(await gateway.run(NAMED, provider="nobody")) == (422, "invalid_request")
    assert (await gateway.run(NAMED)).status_code == 200
