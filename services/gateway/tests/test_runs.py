"""Runs, synchronous and not: what the broker gets, and what the caller gets back."""

import asyncio
import json
from decimal import Decimal
from uuid import UUID

import pytest
from services.gateway.tests.conftest import PROMPT, Body, Gateway, PlayedRunner, SettingsFor, completed, running

from common.contracts.runs_v1 import Cost, ReplyTo, RunCompleted, RunRequested
from common.contracts.topics import DAY_MS
from common.errors import Unavailable
from gateway.grants import MARGIN_SECONDS
from gateway.replies import Replies

ASYNC = {"prefer": "wait=5, respond-async"}


async def test_a_synchronous_run_answers_its_result(gateway: Gateway, runner: PlayedRunner) -> None:
    answer = await gateway.run()
    assert answer.status_code == 200, answer.text
    run_id = str(runner.requests[0].run_id)
    assert json.loads(answer.content, parse_float=Decimal) == {
        "success": True,
        "data": {
            "output": "Hello.", "inputTokens": 10, "outputTokens": 5, "totalTokens": 15,
            "cost": Decimal("0.000123456789012345"), "latency": 12, "model": "gpt-4o", "runId": run_id,
        },
    }  # fmt: skip
    assert UUID(run_id).version == 7


async def test_an_unpriced_run_is_not_free(gateway: Gateway, runner: PlayedRunner) -> None:
    runner.script = lambda request: completed(request, cost=Cost(priced=False))
    body = (await gateway.run()).json()["data"]
    assert (body["cost"], body["priced"]) == (None, False)


async def test_the_request_on_the_log(gateway: Gateway, runner: PlayedRunner, workspace_id: UUID) -> None:
    await gateway.run(promptId="greeting", labels={"team": "blue"}, temperature=0.5, maxTokens=9, system="Be brief.")
    request = runner.requests[0]
    assert request.workspace_id == workspace_id
    assert (request.user, request.operation, request.provider, request.model) == ("admin", "chat", "openai", "gpt-4o")
    assert (request.prompt_id, request.labels) == ("greeting", {"team": "blue"})
    assert request.body == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}],
        "temperature": 0.5,
        "max_completion_tokens": 9,
    }
    assert request.deadline == request.accepted_at + 30_000
    assert 5_000 <= request.publish_by - request.accepted_at < 5_500
    assert request.accepted_at == request.run_id.int >> 80


async def test_one_grant_serves_runs_of_the_same_minute(gateway: Gateway, runner: PlayedRunner) -> None:
    await gateway.run()
    await gateway.run()
    first, second = runner.admitted
    assert first.token == second.token
    assert first.grant.providers == ("openai",)
    assert first.grant.expires_at >= second.request.deadline / 1000 + MARGIN_SECONDS


async def test_an_asynchronous_run_is_accepted_and_has_a_day(gateway: Gateway, runner: PlayedRunner) -> None:
    answer = await gateway.run(ASYNC)
    run_id = answer.json()["data"]["runId"]
    assert answer.status_code == 202
    assert answer.json() == {"success": True, "data": {"runId": run_id, "status": "accepted"}}
    assert answer.headers["location"] == f"/api/runs/{run_id}"
    assert answer.headers["preference-applied"] == "respond-async"
    await gateway.run()  # read after it, so the first has been read
    request = next(request for request in runner.requests if str(request.run_id) == run_id)
    assert request.reply_to is None
    assert request.deadline == request.accepted_at + DAY_MS


async def test_without_a_result_the_run_goes_on(kafka: str, settings_for: SettingsFor, runner: PlayedRunner) -> None:
    runner.script = lambda _: None
    async with running(settings_for(kafka_bootstrap_servers=kafka, sync_wait_seconds=0.3)) as gateway:
        answer = await gateway.run()
    assert (answer.status_code, answer.json()["code"]) == (504, "still_running")
    assert answer.json()["runId"] == str(runner.requests[0].run_id)
    assert answer.headers["x-should-retry"] == "false"


async def test_replies_for_others_and_broken_ones_are_skipped(gateway: Gateway, runner: PlayedRunner) -> None:
    def first_some_others(request: RunRequested) -> RunCompleted:
        wrong = completed(request, output="for another replica").encode()
        assert request.reply_to is not None
        mine = ("instance", request.reply_to.instance.encode())
        others.append(asyncio.ensure_future(runner.send(request, wrong, [("instance", b"another")])))
        others.append(asyncio.ensure_future(runner.send(request, wrong, [])))
        others.append(asyncio.ensure_future(runner.send(request, b"no json", [mine])))
        return completed(request)

    others: list[asyncio.Future[None]] = []
    runner.script = first_some_others
    for _ in range(3):
        assert (await gateway.run()).json()["data"]["output"] == "Hello."
    await asyncio.gather(*others)


async def test_two_replicas_share_a_partition(kafka: str, runner: PlayedRunner) -> None:
    replicas = [Replies(kafka, 3), Replies(kafka, 3)]
    with pytest.raises(Unavailable):
        replicas[0].check()
    await asyncio.gather(*(replica.start() for replica in replicas))
    requests = [_request(replica.reply_to) for replica in replicas]
    # Each expects both runs, and must hear of its own alone.
    with (
        replicas[0].expect(requests[0].run_id) as own0, replicas[0].expect(requests[1].run_id) as foreign0,
        replicas[1].expect(requests[1].run_id) as own1, replicas[1].expect(requests[0].run_id) as foreign1,
    ):  # fmt: skip
        for request in requests:
            await runner.reply(request)
        assert (await own0).run_id == requests[0].run_id
        assert (await own1).run_id == requests[1].run_id
        assert not foreign0.done()
        assert not foreign1.done()
    await asyncio.gather(*(replica.close() for replica in replicas))


def _request(reply_to: ReplyTo) -> RunRequested:
    body: Body = {"run_id": UUID(int=reply_to.partition), "workspace_id": UUID(int=1), "operation": "chat"}
    run_id = UUID(reply_to.instance)
    body |= {"provider": "openai", "model": "m", "body": {}, "deadline": 1, "publish_by": 1, "accepted_at": 1}
    return RunRequested(**{**body, "run_id": run_id, "reply_to": reply_to})


async def test_a_body_needs_no_content_type(gateway: Gateway, runner: PlayedRunner) -> None:
    answer = await gateway.http.post("/api/integrations/run", content=json.dumps(PROMPT))
    assert answer.status_code == 200, answer.text


async def test_runs_are_counted(gateway: Gateway, runner: PlayedRunner) -> None:
    await gateway.run()
    await gateway.run(ASYNC)
    metrics = (await gateway.http.get("/metrics")).text
    assert 'tallyrun_gateway_runs_accepted_total{mode="async"}' in metrics
    assert 'tallyrun_gateway_runs_ended_total{code="succeeded"}' in metrics
