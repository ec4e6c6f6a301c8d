"""The way of a batch, from its submission to its files."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
from services.gateway.tests.batches.conftest import Caller, PlayedLog, answered, failed, heartbeat, row
from services.gateway.tests.conftest import Gateway, PlayedRunner, PlayedVault, completed, error_of

from common.contracts.runs_v1 import Cost, RunCompleted, RunRequested
from common.ids import named_run_id, now_ms


async def test_every_row_is_run_once_and_stands_in_the_output(caller: Caller, log: PlayedLog) -> None:
    batch = await caller.submit([row(n) for n in range(500)], name="nightly", labels={"team": "search"})
    told = await caller.ended(batch)
    assert (told["state"], told["succeeded"], told["failed"], told["fed"]) == ("completed", 500, 0, 500)
    lines = await caller.lines(told["outputFileId"])
    assert Counter(line["custom_id"] for line in lines) == Counter(f"row-{n}" for n in range(500))
    assert told["errorFileId"] is None
    assert told["cost"] == sum((run.cost.total or 0 for run in log.ended), Decimal(0))
    requests = {request.custom_id: request for request in log.requests}
    assert len(log.requests) == 500
    assert requests["row-7"].run_id == named_run_id(batch["id"], "row-7", "0")
    assert (requests["row-7"].batch_id, requests["row-7"].labels) == (batch["id"], {"team": "search"})
    assert {request.deadline for request in log.requests} == {requests["row-7"].deadline}


async def test_replies_that_never_come_are_only_hints(caller: Caller, log: PlayedLog) -> None:
    log.replies = False
    told = await caller.ended(await caller.submit([row(n) for n in range(30)]))
    assert (told["state"], told["succeeded"], len(log.requests)) == ("completed", 30, 30)


async def test_results_come_while_others_are_under_way(caller: Caller, log: PlayedLog) -> None:
    log.script = lambda request: answered(request) if request.custom_id == "row-1" else None
    batch = await caller.submit([row(n) for n in range(3)])
    told = await caller.until(batch, lambda told: told["succeeded"] == 1)
    assert (told["state"], told["inFlight"], told["outputFileId"]) == ("in_progress", 2, None)
    (first,) = await caller.results(batch)
    assert (first["customId"], first["status"], first["output"]) == ("row-1", "succeeded", "About row-1.")
    following = asyncio.create_task(caller.results(batch, follow=True))
    await log.end_all()
    rows = await following
    assert sorted(row["customId"] for row in rows) == ["row-0", "row-1", "row-2"]
    await caller.ended(batch)
    after = await caller.results(batch, after=rows[0]["customId"], includeInputs=True)
    assert [row["customId"] for row in after] == [row["customId"] for row in rows[1:]]
    asked = {row["customId"]: (row["line"], row["input"]["messages"][0]["content"]) for row in after}
    assert asked == {f"row-{n}": (n + 1, f"What of {n}?") for n in (0, 1, 2) if f"row-{n}" in asked}


async def test_rows_for_anthropic_and_rows_in_its_own_format(caller: Caller, log: PlayedLog) -> None:
    chat = row(1, body={"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Hi"}]})
    own = {"model": "anthropic/claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    first = await caller.ended(await caller.submit([chat]))
    second = await caller.ended(await caller.submit([row(2, url="/v1/messages", body=own)]))
    assert [request.operation for request in log.requests] == ["messages", "messages"]
    (line,) = await caller.lines(first["outputFileId"])
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "About row-1."
    assert line["response"]["status_code"] == 200
    (line,) = await caller.lines(second["outputFileId"])
    assert line["response"]["body"]["content"] == [{"type": "text", "text": "About row-2."}]


async def test_all_rows_failed(caller: Caller, log: PlayedLog) -> None:
    log.script = lambda request: failed(request, "provider_rejected")
    told = await caller.ended(await caller.submit([row(n) for n in range(5)]))
    assert (told["state"], told["succeeded"], told["failed"], told["outputFileId"]) == ("completed", 0, 5, None)
    lines = await caller.lines(told["errorFileId"])
    assert len(lines) == 5
    assert lines[0]["error"] is None
    assert lines[0]["response"]["status_code"] == 400
    assert lines[0]["response"]["body"]["error"]["code"] == "provider_rejected"


async def test_what_may_come_again_is_the_next_round_and_the_last_round_counts(caller: Caller, log: PlayedLog) -> None:
    rounds: Counter[str | None] = Counter()

    def limited_once(request: RunRequested) -> RunCompleted:
        rounds[request.custom_id] += 1
        again = rounds[request.custom_id] == 1 and request.custom_id != "row-0"
        return failed(request, "rate_limited", retry_at=now_ms() + 300) if again else answered(request)

    log.script = limited_once
    batch = await caller.submit([row(n) for n in range(10)])
    told = await caller.ended(batch)
    assert (told["state"], told["succeeded"], told["failed"]) == ("completed", 10, 0)
    assert rounds == Counter({f"row-{n}": 2 if n else 1 for n in range(10)})
    assert log.repeated == []
    assert {named_run_id(batch["id"], "row-3", number) for number in "01"} <= {run.run_id for run in log.requests}
    assert len(await caller.results(batch)) == len(await caller.lines(told["outputFileId"])) == 10


async def test_cancelling_stops_the_feeding_within_a_second(caller: Caller, log: PlayedLog) -> None:
    log.script = lambda _: None
    batch = await caller.submit([row(n) for n in range(400)])
    await caller.until(batch, lambda told: told["inFlight"] == 200)  # the smallest window
    began = now_ms()
    assert (await caller.do("cancel", batch))["state"] == "cancelling"
    await caller.until(batch, lambda _: batch["id"] in log.cancelled)
    assert now_ms() - began < 1000
    await log.end_all()  # what was under way finishes
    told = await caller.ended(batch)
    assert (told["state"], told["succeeded"], told["cancelled"], told["fed"]) == ("cancelled", 200, 200, 200)
    assert len(await caller.lines(told["outputFileId"])) == 200
    errors = await caller.lines(told["errorFileId"])
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert len(errors) == 200
    assert len(log.requests) == 200


async def test_a_batch_is_cancelled_while_it_waits_to_be_validated(
    caller: Caller, log: PlayedLog, vault: PlayedVault
) -> None:
    vault.away = True  # so that no model can be resolved
    batch = await caller.submit([row(n) for n in range(3)])
    assert (await caller.do("cancel", batch))["state"] == "cancelling"
    vault.away = False
    told = await caller.ended(batch)
    assert (told["state"], told["cancelled"], log.requests) == ("cancelled", 3, [])


async def test_the_deadline_keeps_what_finished(caller: Caller, log: PlayedLog) -> None:
    log.script = lambda request: answered(request) if request.custom_id == "row-0" else None
    batch = await caller.submit([row(n) for n in range(250)], deadlineSeconds=3)
    await caller.until(batch, lambda told: told["succeeded"] == 1 and told["inFlight"] == 200)
    while now_ms() < next(iter(log.under_way.values())).deadline:
        await asyncio.sleep(0.05)
    await log.end_all(lambda request: completed(request, status="expired", output=None))
    told = await caller.ended(batch)
    assert (told["state"], told["succeeded"], told["expired"]) == ("expired", 1, 249)
    assert len(await caller.lines(told["outputFileId"])) == 1
    assert {line["error"]["code"] for line in await caller.lines(told["errorFileId"])} == {"batch_expired"}


async def test_a_refused_key_pauses_and_the_next_key_resumes(
    caller: Caller, log: PlayedLog, gateway: Gateway, runner: PlayedRunner
) -> None:
    log.script = lambda request: failed(request, "invalid_api_key")
    batch = await caller.submit([row(n) for n in range(250)])
    told = await caller.until(batch, lambda told: told["state"] == "paused" and told["inFlight"] == 0)
    assert told["pausedReason"].startswith("invalid_api_key: openai")
    assert told["failed"] == 0
    openai = await gateway.http.get(f"/v1/batches/{batch['id']}")
    assert openai.json()["status"] == "in_progress"
    log.script = answered
    await _connect(gateway, "anthropic")
    assert (await caller.show(batch))["state"] == "paused"  # another provider's key changes nothing
    await _connect(gateway, "openai")
    told = await caller.ended(batch)
    assert (told["state"], told["succeeded"], told["failed"]) == ("completed", 250, 0)
    assert log.repeated == []
    assert len(log.requests) == 250 + sum(run.status == "failed" for run in log.ended)


async def _connect(gateway: Gateway, provider: str) -> None:
    asked = {"provider": provider, "apiKey": f"key-{uuid4().hex}"}
    answer = await gateway.http.post("/api/integrations/connect", json=asked)
    assert answer.status_code == 200, answer.text


async def test_a_batch_is_paused_and_resumed_on_request(
    caller: Caller, log: PlayedLog, sql: asyncpg.Connection
) -> None:
    log.script = lambda _: None
    batch = await caller.submit([row(n) for n in range(250)])
    await caller.until(batch, lambda told: told["inFlight"] == 200)
    assert (await caller.do("pause", batch))["state"] == "paused"
    await heartbeat(sql)
    log.script = answered
    await log.end_all()
    told = await caller.until(batch, lambda told: told["succeeded"] == 200)
    await heartbeat(sql)
    assert (told["state"], len(log.requests)) == ("paused", 200)
    await caller.do("resume", batch)
    assert (await caller.ended(batch))["succeeded"] == 250


async def test_a_spend_limit_is_never_exceeded(caller: Caller, log: PlayedLog) -> None:
    def dear(request: RunRequested) -> RunCompleted:
        return answered(request).model_copy(update={"cost": Cost(priced=True, total=Decimal("0.00001"))})

    log.script = dear
    body = {"model": "gpt-4o-mini", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
    rows = [row(n, body=body) for n in range(300)]
    batch = await caller.submit(rows, maxCost="0.002")
    told = await caller.ended(batch)
    assert (told["state"], told["pausedReason"]) == ("completed", None)
    assert Decimal("0.0018") < told["cost"] <= Decimal("0.002")
    assert told["succeeded"] == len(log.requests) < 300
    errors = await caller.lines(told["errorFileId"])
    assert {line["error"]["code"] for line in errors} == {"spend_limit"}
    assert told["succeeded"] + told["failed"] == 300
    assert len(errors) == told["failed"]


async def test_only_the_failed_rows_are_run_again(caller: Caller, log: PlayedLog) -> None:
    bad = {"row-3", "row-7"}
    log.script = lambda r: failed(r, "provider_rejected") if r.custom_id in bad else answered(r)
    batch = await caller.submit([row(n) for n in range(10)], name="nightly", mode="auto")
    await caller.ended(batch)
    log.script = answered
    again = await caller.do("retry", batch, only=["failed"])
    assert (again["retryOf"], again["name"], again["mode"]) == (batch["id"], "nightly", "auto")
    told = await caller.ended(again)
    assert (told["succeeded"], told["rows"]) == (2, 2)
    assert {row["customId"] for row in await caller.results(again)} == bad
    named = await caller.do("retry", batch, customIds=["row-1"])
    assert [row["customId"] for row in await caller.results(await caller.ended(named))] == ["row-1"]
    nothing = await caller.gateway.http.post(f"/api/batches/{again['id']}/retry", json={})
    assert error_of(nothing) == (409, "conflict")


async def test_one_key_is_one_batch(caller: Caller, log: PlayedLog) -> None:
    asked: dict[str, Any] = {"fileId": await caller.upload(b'{"custom_id": "a"}\n'), "name": "n"}
    post, headers = caller.gateway.http.post, {"idempotency-key": "k"}
    first, second = [await post("/api/batches", json=asked, headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["data"]["id"] == second.json()["data"]["id"]
    assert second.headers["idempotent-replayed"] == "true"
    other = await post("/api/batches", json={**asked, "name": "m"}, headers=headers)
    assert error_of(other) == (409, "idempotency_conflict")
    both = await asyncio.gather(*(post("/api/batches", json=asked, headers={"idempotency-key": "x"}) for _ in range(5)))
    assert sorted(answer.status_code for answer in both) == [200, 200, 200, 200, 201]


async def test_what_cannot_be_stored_is_the_callers_fault(caller: Caller) -> None:
    file_id = await caller.upload(b"{}")
    http = caller.gateway.http
    for asked in ({"name": "a\0b"}, {"labels": {"a": "\0"}}, {"labels": {"\0": "b"}}, {"model": "\0"}):
        answer = await http.post("/api/batches", json={"fileId": file_id, **asked})
        assert error_of(answer) == (422, "invalid_request"), asked
    assert error_of(await http.get("/api/batches/batch_%00")) == (422, "invalid_request")
    assert error_of(await http.get("/api/batches", params={"label": "a=\0"})) == (422, "invalid_request")
