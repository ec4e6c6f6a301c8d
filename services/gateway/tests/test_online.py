"""The compatible surfaces with a played runner: what is told of a run, and what becomes of it when a piece is lost."""

import json
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from services.gateway.tests.conftest import (
    Body,
    Gateway,
    PlayedRunner,
    PlayedVault,
    SettingsFor,
    completed,
    running,
)

from common.contracts.runs_v1 import Attempt, RunCompleted, RunDelta, RunError, RunRequested
from common.ids import now_ms

CHAT: Body = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Say hello."}]}
MESSAGE: Body = {**CHAT, "model": "anthropic/claude", "max_tokens": 9}
USAGE: Body = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
COMPLETION: Body = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "gpt-4o", "a field of the future": [1.50],
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": USAGE,
}  # fmt: skip
TOOL: Body = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
WRITTEN: Body = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hello."}, TOOL],
    "usage": {"input_tokens": 3, "output_tokens": 2},
}  # fmt: skip


def chunk(**fields: Any) -> Body:
    shared = {name: COMPLETION[name] for name in ("id", "created", "model")}
    return {**shared, "object": "chat.completion.chunk", "choices": [], **fields}


def said(text: str | None = None, finish: str | None = None, **delta: Any) -> Body:
    changed = delta if text is None else {**delta, "content": text}
    return {"choices": [{"index": 0, "delta": changed, "logprobs": None, "finish_reason": finish}]}


CHUNKS = [chunk(**said("", role="assistant")), chunk(**said("Hel")), chunk(**said("lo.")), chunk(**said(finish="stop"))]

EVENTS: list[Body] = [
    {"type": "message_start", "message": {**WRITTEN, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": TOOL},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ""}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop"},
]


def answering(request: RunRequested, **fields: Any) -> RunCompleted:
    """Succeed with the provider's body."""
    body = COMPLETION if request.operation == "chat" else WRITTEN
    return completed(request, **{"response": json.dumps(body), **fields})


def failing(request: RunRequested, **error: Any) -> RunCompleted:
    told = RunError(**{"code": "provider_unavailable", "message": "it broke", **error})
    attempt = Attempt(number=1, started_at=now_ms(), latency_ms=1, outcome="known", status_code=529)
    return completed(request, status="failed", output=None, error=told, attempts=[attempt])


def telling(
    request: RunRequested, *pieces: list[Body], call_id: UUID | None = None, last: bool = True
) -> list[RunDelta]:
    """Return the records of these pieces."""
    deltas, first, call = [], 0, call_id or uuid4()
    for piece in pieces:
        texts = [json.dumps(event) for event in piece]
        deltas.append(RunDelta(run_id=request.run_id, call_id=call, first=first, events=texts))
        first += len(texts)
    return [*deltas, *([RunDelta(run_id=request.run_id, call_id=call, first=first, events=[], last=True)] * last)]


@pytest.fixture
async def connected(gateway: Gateway, runner: PlayedRunner, vault: PlayedVault) -> PlayedRunner:
    """The runner, once keys for both wires are connected."""
    for provider in ("openai", "anthropic"):
        key = {"provider": provider, "apiKey": f"key-{uuid4().hex}"}
        assert (await gateway.http.post("/api/integrations/connect", json=key)).status_code == 200
    runner.admitted.clear()
    runner.script = answering
    return runner


async def chat(gateway: Gateway, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    return await gateway.http.post("/v1/chat/completions", json={**CHAT, **fields}, headers=headers)


async def write(gateway: Gateway, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    return await gateway.http.post("/v1/messages", json={**MESSAGE, **fields}, headers=headers)


def chunks_of(answer: httpx2.Response) -> list[Any]:
    """The data of an answer's events, the last of which must be [DONE], which is left out."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def events_of(answer: httpx2.Response) -> list[tuple[str, Any]]:
    assert answer.status_code == 200, answer.text
    events = [event.split("\n") for event in answer.text.split("\n\n") if event]
    return [(name.removeprefix("event: "), json.loads(text.removeprefix("data: "))) for name, text in events]


async def test_the_provider_s_own_answer_byte_for_byte(gateway: Gateway, connected: PlayedRunner) -> None:
    answer = await chat(gateway, n=2, metadata={"a": "b"})
    assert answer.content == json.dumps(COMPLETION).encode()
    request = connected.requests[-1]
    assert request.body == {**CHAT, "model": "gpt-4o", "n": 2, "metadata": {"a": "b"}}
    assert (request.provider, request.model, request.operation, request.user) == (
        "openai",
        "gpt-4o",
        "chat",
        "admin",
    )
    assert request.deadline - request.accepted_at == 600_000
    assert answer.headers["x-request-id"] == answer.headers["request-id"] == str(request.run_id)
    message = await write(gateway, thinking={"type": "adaptive"})
    assert message.content == json.dumps(WRITTEN).encode()
    assert connected.requests[-1].body == {**MESSAGE, "model": "claude", "thinking": {"type": "adaptive"}}


async def test_a_bare_name_and_a_chat_with_an_anthropic_model(gateway: Gateway, connected: PlayedRunner) -> None:
    answer = (await chat(gateway, model="claude-haiku-4-5")).json()
    assert connected.requests[-1].operation == "messages"
    assert (answer["id"], answer["object"], answer["choices"][0]["finish_reason"]) == (
        "msg_1", "chat.completion", "tool_calls",
    )  # fmt: skip
    assert answer["created"] == connected.requests[-1].accepted_at // 1000


async def test_whom_costs_are_put_to(gateway: Gateway, connected: PlayedRunner) -> None:
    headers = {"X-Tallyrun-Prompt-Id": "hello", "X-Tallyrun-Labels": "team=a b, stage=x=y,"}
    await chat(gateway, headers)
    request = connected.requests[-1]
    assert (request.prompt_id, request.labels) == ("hello", {"team": "a b", "stage": "x=y"})
    for name, value in {"X-Tallyrun-Prompt-Id": "p" * 257, "X-Tallyrun-Labels": "=x"}.items():
        answer = await chat(gateway, {name: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, name)


async def test_x_api_key_is_a_token_under_v1_alone(gateway: Gateway, connected: PlayedRunner) -> None:
    key = {"authorization": "", "x-api-key": await gateway.token("member")}
    assert (await write(gateway, key)).status_code == 200
    assert (await gateway.run(key)).status_code == 401
    viewer = {"authorization": "", "x-api-key": await gateway.token("viewer")}
    assert (await write(gateway, viewer)).json()["error"]["type"] == "permission_error"
    assert (await gateway.http.get("/v1/models", headers=viewer)).status_code == 200


BAD: list[tuple[Body, int, str, str | None]] = [
    ({"model": None}, 422, "invalid_request", "model"), ({"model": 5}, 422, "invalid_request", "model"),
    ({"model": "m" * 257}, 422, "invalid_request", "model"), ({"model": "nobody/x"}, 400, "model_not_found", "model"),
    ({"stream": "yes"}, 422, "invalid_request", "stream"), ({"model": "anthropic/c", "n": 2}, 422, "unsupported", "n"),
]  # fmt: skip


async def test_what_is_wrong_is_named(gateway: Gateway, connected: PlayedRunner) -> None:
    for fields, status, code, param in BAD:
        answer = await chat(gateway, **fields)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (status, code, param), fields
    for content in (b"", b"[]", b"{", b'{"model": NaN}', b'{"model": "\\ud800"}'):
        answer = await gateway.http.post("/v1/chat/completions", content=content)
        assert answer.json()["error"]["message"].startswith("body: "), content
    answer = await write(gateway, model="openai/gpt-4o")
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "invalid_request_error")
    counted = await gateway.http.post("/v1/messages/count_tokens", json=MESSAGE)
    assert "tokens are not counted here" in counted.json()["error"]["message"]
    assert connected.requests == []


async def test_a_failed_run(gateway: Gateway, connected: PlayedRunner) -> None:
    connected.script = failing
    for stream in (False, True):
        answer = await chat(gateway, stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "provider_unavailable")
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["x-request-id"] == str(connected.requests[-1].run_id)
        answer = await write(gateway, stream=stream)
        assert (answer.status_code, answer.json()["error"]["type"]) == (529, "overloaded_error")


async def test_an_answer_that_was_cut_is_none(gateway: Gateway, connected: PlayedRunner) -> None:
    connected.script = lambda request: answering(request, response=None, truncated=True)
    answer = await chat(gateway)
    assert answer.status_code == 502
    assert "10 MiB" in answer.json()["error"]["message"]


async def test_a_stream(gateway: Gateway, connected: PlayedRunner) -> None:
    asked_for = [{**each, "usage": None} for each in CHUNKS]  # as the runner always asks for it
    connected.telling = lambda request: telling(request, asked_for[:1], asked_for[1:], [chunk(usage=USAGE)])
    answer = await chat(gateway, stream=True)
    assert chunks_of(answer) == CHUNKS
    assert answer.headers["x-request-id"] == str(connected.requests[-1].run_id)
    counted = chunks_of(await chat(gateway, stream=True, stream_options={"include_usage": True}))
    assert counted == [*asked_for, chunk(usage=USAGE)]


async def test_a_stream_of_a_server_that_is_not_quite_openai_s(gateway: Gateway, connected: PlayedRunner) -> None:
    """Usage beside the last choice and again, tool calls without an index: each breaks an official client."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    odd = [chunk(**said(tool_calls=[call]), usage={**USAGE, "completion_tokens": 1}),
           chunk(**said(finish="tool_calls"), usage=USAGE)]  # fmt: skip
    connected.telling = lambda request: telling(request, odd)
    indexed = [chunk(**said(tool_calls=[{**call, "index": 0}])), chunk(**said(finish="tool_calls"))]
    assert chunks_of(await chat(gateway, stream=True)) == indexed
    counted = chunks_of(await chat(gateway, stream=True, stream_options={"include_usage": True}))
    assert counted == [*({**each, "usage": None} for each in indexed), chunk(usage=USAGE)]


async def test_a_chat_stream_of_an_anthropic_model(gateway: Gateway, connected: PlayedRunner) -> None:
    connected.telling = lambda request: telling(request, EVENTS)
    fields: Body = {"model": "anthropic/claude", "stream": True}
    got = chunks_of(await chat(gateway, **fields))
    begun = {
        "tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": ""}}]
    }
    nothing = {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    start = {"role": "assistant", "content": "", "refusal": None}
    assert [each["choices"][0]["delta"] for each in got] == [start, {"content": "Hello."}, begun, nothing, {}]
    assert [each["choices"][0]["finish_reason"] for each in got] == [None] * 4 + ["tool_calls"]
    assert {(each["id"], each["model"], each["object"]) for each in got} == {
        ("msg_1", "claude", "chat.completion.chunk")
    }
    counted = chunks_of(await chat(gateway, **fields, stream_options={"include_usage": True}))
    assert [each["usage"] for each in counted[:-1]] == [None] * 5
    assert (counted[-1]["choices"], counted[-1]["usage"]["total_tokens"]) == ([], 5)


async def test_a_message_stream(gateway: Gateway, connected: PlayedRunner) -> None:
    connected.telling = lambda request: telling(request, EVENTS[:3], EVENTS[3:])
    answer = await write(gateway, stream=True)
    assert events_of(answer) == [(event["type"], event) for event in EVENTS]
    assert answer.headers["request-id"] == str(connected.requests[-1].run_id)


async def test_a_provider_that_does_not_stream(gateway: Gateway, connected: PlayedRunner) -> None:
    connected.telling = telling
    whole = chunks_of(await chat(gateway, stream=True, stream_options={"include_usage": True}))
    assert [each["choices"][0]["delta"] for each in whole[:-1]] == [{"role": "assistant", "content": "Hello."}, {}]
    assert [each["usage"] for each in whole] == [None, None, USAGE]
    kinds = [name for name, _ in events_of(await write(gateway, stream=True))]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert kinds == ["message_start", *block, *block, "message_delta", "message_stop"]


def _lost(request: RunRequested) -> list[RunDelta]:
    first, _, *more = telling(request, CHUNKS[:1], CHUNKS[1:2], CHUNKS[2:])
    return [first, *more]


def _end_lost(request: RunRequested) -> list[RunDelta]:
    return telling(request, CHUNKS[:1], CHUNKS[1:2], last=False)


def _called_again(request: RunRequested) -> list[RunDelta]:
    return [*telling(request, CHUNKS[:1], last=False), *telling(request, CHUNKS)]


BROKEN = [
    (_lost, 1, "was lost on its way"),
    (_end_lost, 2, "was lost on its way"),
    (_called_again, 1, "carried out once more"),
]


@pytest.mark.parametrize("number", range(len(BROKEN)))
async def test_a_piece_that_is_lost_is_an_error(gateway: Gateway, connected: PlayedRunner, number: int) -> None:
    connected.telling, before, why = BROKEN[number]
    text = (await chat(gateway, stream=True)).text
    assert "[DONE]" not in text
    *told, last = [json.loads(event.removeprefix("data: ")) for event in text.strip().split("\n\n")]
    assert told == CHUNKS[:before], "what comes after a gap is not told"
    error = last["error"]
    assert (error["code"], error["type"]) == ("stream_broken", "server_error")
    assert why in error["message"]
    assert str(connected.requests[-1].run_id) in error["message"]


async def test_pieces_that_come_twice_are_told_once(gateway: Gateway, connected: PlayedRunner) -> None:
    def twice(request: RunRequested) -> list[RunDelta]:
        return [delta for delta in telling(request, CHUNKS[:2], CHUNKS[2:]) for _ in range(2)]

    connected.telling = twice
    assert chunks_of(await chat(gateway, stream=True)) == CHUNKS


async def test_a_run_that_fails_after_its_first_piece(gateway: Gateway, connected: PlayedRunner) -> None:
    connected.script = failing
    connected.telling = lambda request: telling(request, CHUNKS[:2], last=False)
    text = (await chat(gateway, stream=True)).text
    assert json.loads(text.strip().split("\n\n")[-1].removeprefix("data: ")) == {
        "error": {"message": "it broke", "type": "server_error", "param": None, "code": "provider_unavailable"}
    }
    connected.telling = lambda request: telling(request, EVENTS[:3], last=False)
    name, error = events_of(await write(gateway, stream=True))[-1]
    assert (name, error["type"], error["error"]["type"]) == ("error", "error", "overloaded_error")
    assert error["request_id"] == str(connected.requests[-1].run_id)


async def test_sent_again_under_one_key(gateway: Gateway, connected: PlayedRunner, analytics: Any) -> None:
    key = {"idempotency-key": uuid4().hex}
    connected.telling = lambda request: telling(request, CHUNKS)
    first = await chat(gateway, key, stream=True)
    assert "idempotent-replayed" not in first.headers
    run_id = first.headers["x-request-id"]
    detail: Body = {
        "runId": run_id, "status": "succeeded", "provider": "openai", "model": "gpt-4o", "promptId": None, "user": "u",
        "acceptedAt": "", "completedAt": "", "totalTokens": 5, "cost": 0, "latency": 1, "errorCode": None,
        "executions": 1, "operation": "chat", "labels": {}, "batchId": None, "customId": None, "output": "Hello.",
        "response": json.dumps(COMPLETION), "truncated": False, "finishReason": "stop", "servedModel": "gpt-4o",
        "serviceTier": None, "usage": None, "costComponents": {}, "catalogue": None, "error": None, "attempts": [],
        "queuedMs": 1, "keyId": None, "promptPreview": "",
    }  # fmt: skip
    analytics.answers[f"runs/{run_id}"] = json.dumps({"success": True, "data": detail}).encode()
    again = await chat(gateway, key, stream=True)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-request-id"] == run_id
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in chunks_of(again)) == "Hello."
    assert len(connected.requests) == 1
    conflict = await chat(gateway, key, stream=True, n=2)
    assert (conflict.status_code, conflict.headers["x-should-retry"]) == (409, "false")


async def test_a_silence_is_filled_and_ends(
    kafka: str, settings_for: SettingsFor, runner: PlayedRunner, vault: PlayedVault
) -> None:
    runner.script = lambda _: None
    settings = settings_for(kafka_bootstrap_servers=kafka, keep_alive_seconds=0.1, online_wait_seconds=0.3)
    async with running(settings) as gateway:
        text = (await chat(gateway, stream=True)).text
        assert text.startswith(": keep-alive\n\n: keep-alive\n\ndata: {")
        assert json.loads(text.split("data: ")[1])["error"]["code"] == "still_running"
        whole = await chat(gateway)
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "still_running")
        assert whole.headers["x-should-retry"] == "false"


async def test_models(gateway: Gateway, connected: PlayedRunner) -> None:
    listed = (await gateway.http.get("/v1/models")).json()
    assert listed["object"] == "list"
    by_id = {model["id"]: model for model in listed["data"]}
    assert by_id["openai/gpt-4o"] == {"id": "openai/gpt-4o", "object": "model", "created": 0, "owned_by": "openai"}
    assert {model.partition("/")[0] for model in by_id} == {"openai", "anthropic"}
    for name in ("openai/gpt-4o", "gpt-4o", "openai%2Fgpt-4o"):
        assert (await gateway.http.get(f"/v1/models/{name}")).json()["owned_by"] == "openai"
    for name in ("nothing", "local/x", "openai/nothing"):
        answer = await gateway.http.get(f"/v1/models/{name}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (404, "model")
    page = (await gateway.http.get("/v1/models", headers={"anthropic-version": "2023-06-01"})).json()
    assert (page["has_more"], page["first_id"], page["last_id"]) == (
        False, page["data"][0]["id"], page["data"][-1]["id"],
    )  # fmt: skip
    assert set(page["data"][0]) == {"type", "id", "display_name", "created_at"}
