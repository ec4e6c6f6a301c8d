"""The adapters against the simulated provider: what travels, what comes back, what failed, and no key anywhere."""

import asyncio
import logging
import secrets
import socket
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx2
import orjson
import pytest
from aiohttp import web
from pydantic import HttpUrl, SecretStr

from common.contracts.runs_v1 import Operation, Usage
from common.errors import RUN_ERRORS
from common.providers import ProviderSpec, Wire
from embedded.simulator import Running, running
from runner.providers import Answer, CallFailed, Provider, connections, provider_for
from runner.providers.answer import LONGEST_WAIT_SECONDS
from runner.providers.failures import Callee, retry_after

OPERATIONS: dict[Wire, Operation] = {"openai": "chat", "anthropic": "messages"}
PROMPT = "Name three rivers in Europe, please."


def spec(wire: Wire, base_url: str) -> ProviderSpec:
    return ProviderSpec(name=wire, wire=wire, base_url=HttpUrl(base_url), catalogue=wire)


@asynccontextmanager
async def connected(wire: Wire, base_url: str) -> AsyncIterator[Provider]:
    provider = provider_for(spec(wire, base_url))
    try:
        yield provider
    finally:
        await provider.close()


@pytest.fixture
async def simulator() -> AsyncIterator[Running]:
    async with running() as simulator:
        yield simulator


@pytest.fixture(params=["openai", "anthropic"])
def wire(request: pytest.FixtureRequest) -> Wire:
    chosen: Wire = request.param
    return chosen


@pytest.fixture
async def provider(wire: Wire, simulator: Running) -> AsyncIterator[Provider]:
    base_url = simulator.openai_base_url if wire == "openai" else simulator.anthropic_base_url
    async with connected(wire, base_url) as provider:
        yield provider


@pytest.fixture
def key() -> SecretStr:
    return SecretStr(f"canary-{secrets.token_hex(12)}")


def body(model: str = "a-model", prompt: str = PROMPT, **fields: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": prompt}], **fields}


async def call(provider: Provider, wire: Wire, key: SecretStr, seconds: float = 10, **fields: Any) -> Answer:
    return await provider.call(OPERATIONS[wire], body(**fields), key, seconds)


async def failure(provider: Provider, wire: Wire, key: SecretStr, seconds: float = 10, **fields: Any) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        await call(provider, wire, key, seconds, **fields)
    failed = caught.value
    assert failed.code in RUN_ERRORS
    assert key.get_secret_value() not in "".join(traceback.format_exception(failed)) + repr(failed)
    assert failed.__context__ is None, "what the SDK raised holds the request, and with it the key"
    return failed


async def test_a_chat_is_completed(simulator: Running, key: SecretStr) -> None:
    async with connected("openai", simulator.openai_base_url) as provider:
        simulator.control(rules=[{"merge": {"service_tier": "flex", "model": "a-model-2026"}}])
        answer = await call(provider, "openai", key)
    completion = orjson.loads(answer.response)
    assert answer.output == completion["choices"][0]["message"]["content"]
    assert (answer.finish_reason, answer.served_model, answer.service_tier) == ("stop", "a-model-2026", "flex")
    assert answer.usage == Usage(**simulator.calls()["usage"]["a-model"])
    assert answer.usage.input == 9  # 36 characters, four to a token


async def test_a_message_is_written(simulator: Running, key: SecretStr) -> None:
    cache = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    simulator.control(rules=[{"merge": {"usage": {"inference_geo": "us", "cache_creation": cache}}}])
    async with connected("anthropic", simulator.anthropic_base_url) as provider:
        answer = await call(provider, "anthropic", key)
    message = orjson.loads(answer.response)
    assert answer.output == message["content"][0]["text"]
    assert (answer.finish_reason, answer.served_model, answer.service_tier) == ("end_turn", "a-model", "standard")
    assert answer.usage == Usage(**simulator.calls()["usage"]["a-model"])
    assert answer.price_context.inference_geo == "us"


async def test_the_body_travels_verbatim(simulator: Running, provider: Provider, wire: Wire, key: SecretStr) -> None:
    fields: dict[str, Any] = {
        "n": 2,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"maximum": 10**30, "default": None}}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "ü\u2028 🙂"},
                    {"type": "image_url", "image_url": {"url": "https://x"}, "x": 1.5},
                ],
            }
        ],
        "of_the_future": {"null": None, "empty": [], "false": False},
    }
    answer = await call(provider, wire, key, **fields)
    assert simulator.simulator.ledger.last_body.decode() == _json(body(**fields))
    assert wire != "openai" or len(orjson.loads(answer.response)["choices"]) == 2


def _json(value: Any) -> str:
    import json  # noqa: PLC0415 - the standard library's, as an independent judge of the bytes

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def test_the_response_is_verbatim(key: SecretStr) -> None:
    sent = '{ "choices": [],\n  "usage": null, "unknown": 1.0, "text": "\\u00fc ü" }'
    async with serving(_always(web.Response, text=sent, content_type="application/json")) as (url, _):
        async with connected("openai", url) as provider:
            answer = await call(provider, "openai", key)
    assert answer == Answer(sent, None, None, None, None, None)


async def test_no_usage_is_none_not_zero(simulator: Running, provider: Provider, wire: Wire, key: SecretStr) -> None:
    simulator.control(rules=[{"merge": {"usage": None}}])
    assert (await call(provider, wire, key)).usage is None


async def test_every_call_carries_its_own_key(simulator: Running, provider: Provider, wire: Wire) -> None:
    simulator.control(latency_ms=20)
    keys = [SecretStr(f"key-{number}") for number in range(20)]
    await asyncio.gather(*(call(provider, wire, key) for key in keys))
    assert sorted(simulator.calls()["keys"].values()) == [1] * 20


async def test_hundreds_of_calls_are_in_flight_at_once(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr
) -> None:
    simulator.control(latency_ms=1500)
    await asyncio.gather(*(call(provider, wire, key, prompt=f"prompt {number}") for number in range(400)))
    assert simulator.calls()["peak"] > 300  # the SDKs' transport stops at 100 where it is left alone


@pytest.mark.parametrize(
    ("kind", "code", "retryable"),
    [
        ("invalid_api_key", "invalid_api_key", False),
        ("forbidden", "invalid_api_key", False),
        ("rate_limited", "rate_limited", True),
        ("insufficient_quota", "insufficient_quota", False),
        ("model_not_found", "model_not_found", False),
        ("bad_request", "provider_rejected", False),
        ("server_error", "provider_unavailable", True),
        ("overloaded", "provider_unavailable", True),
    ],
)
async def test_a_refusal_is_typed_known_and_not_retried_by_the_sdk(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr, kind: str, code: str, retryable: bool
) -> None:
    simulator.control(rules=[{"kind": kind}])
    failed = await failure(provider, wire, key)
    assert (failed.code, failed.retryable, failed.outcome_known) == (code, retryable, True)
    assert {str(failed.status_code): 1} == simulator.calls()["statuses"]


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (307, "provider_rejected", False),
        (400, "provider_rejected", False),
        (402, "insufficient_quota", False),
        (404, "provider_rejected", False),  # a wrong path, since it says nothing of a model
        (408, "provider_unavailable", True),
        (409, "provider_unavailable", True),
        (413, "provider_rejected", False),
        (422, "provider_rejected", False),
        (502, "provider_unavailable", True),
        (529, "provider_unavailable", True),
    ],
)
async def test_other_statuses(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr, status: int, code: str, retryable: bool
) -> None:
    simulator.control(rules=[{"kind": "status", "status": status, "message": "so it is"}])
    failed = await failure(provider, wire, key)
    assert (failed.code, failed.status_code, failed.retryable) == (code, status, retryable)
    assert "so it is" in failed.message


async def test_an_unknown_model_is_named(provider: Provider, wire: Wire, key: SecretStr) -> None:
    failed = await failure(provider, wire, key, model="missing-link-4")
    assert failed.code == "model_not_found"
    assert "missing-link-4" in failed.message


async def test_a_model_the_key_may_not_use_is_no_bad_key(key: SecretStr) -> None:
    error = {"error": {"message": "Project has no access to model", "type": "x", "code": "model_not_found"}}
    async with serving(_always(web.json_response, error, status=403)) as (url, _):
        async with connected("openai", url) as provider:
            assert (await failure(provider, "openai", key)).code == "model_not_found"


async def test_the_wait_a_provider_asks_for_is_passed_on(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr
) -> None:
    simulator.control(rules=[{"kind": "rate_limited", "retry_after": 2.5}])
    assert (await failure(provider, wire, key)).retry_after == 2.5


def test_the_forms_of_retry_after() -> None:
    assert retry_after({"retry-after": "3"}) == 3.0
    assert retry_after({"retry-after": "3", "retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)}) == pytest.approx(60, abs=2)
    assert retry_after({"retry-after": formatdate(time.time() - 60, usegmt=True)}) == 0
    assert retry_after({"retry-after": "-1"}) == 0
    assert [retry_after({"retry-after": odd}) for odd in ("", "soon", "nan", "inf")] == [None] * 4
    assert retry_after({}) is None
    assert [retry_after({"retry-after": long}) for long in ("4102444800", "1e300")] == [LONGEST_WAIT_SECONDS] * 2


async def test_a_provider_may_forbid_the_retry(key: SecretStr) -> None:
    answer = _always(web.json_response, {}, status=500, headers={"x-should-retry": "false"})
    async with serving(answer) as (url, _), connected("openai", url) as provider:
        assert not (await failure(provider, "openai", key)).retryable


async def test_a_call_that_hangs_ends_in_time_and_may_be_paid(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr
) -> None:
    simulator.control(rules=[{"kind": "hang"}])
    started = time.monotonic()
    failed = await failure(provider, wire, key, seconds=0.3)
    assert time.monotonic() - started < 2
    assert (failed.code, failed.retryable, failed.outcome_known) == ("provider_timeout", True, False)


async def test_an_answer_that_drips_ends_in_time_too(key: SecretStr) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    async with serving(drip) as (url, _), connected("openai", url) as provider:
        failed = await failure(provider, "openai", key, seconds=0.4)
    assert (failed.code, failed.outcome_known) == ("provider_timeout", False)


async def test_a_connection_lost_after_sending_may_be_paid(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr
) -> None:
    simulator.control(script=[{}, {"kind": "reset"}])
    await call(provider, wire, key)  # so that the lost one is a reused connection
    failed = await failure(provider, wire, key)
    assert (failed.code, failed.retryable, failed.outcome_known) == ("provider_unavailable", True, False)
    assert simulator.calls()["total"] == 2  # the transport did not send it again by itself


async def test_a_refused_connection_was_not_paid(wire: Wire, key: SecretStr) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, not listening
        async with connected(wire, f"http://127.0.0.1:{bound.getsockname()[1]}") as provider:
            failed = await failure(provider, wire, key)
    assert (failed.code, failed.retryable, failed.outcome_known) == ("provider_unavailable", True, True)


async def test_a_connection_never_accepted_was_not_paid(
    wire: Wire, key: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.2)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):  # fill its queue; from then on nobody answers
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        async with connected(wire, f"http://127.0.0.1:{full.getsockname()[1]}") as provider:
            failed = await failure(provider, wire, key)
    assert (failed.code, failed.retryable, failed.outcome_known) == ("provider_timeout", True, True)


async def test_an_answer_that_is_none_was_paid_and_is_not_repeated(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr
) -> None:
    simulator.control(rules=[{"kind": "malformed"}])
    failed = await failure(provider, wire, key)
    assert (failed.code, failed.retryable, failed.outcome_known) == ("provider_unavailable", False, True)
    assert failed.status_code == 200
    assert "may have charged" in failed.message


async def test_a_fault_of_ours_is_not_blamed_on_the_provider(
    provider: Provider, wire: Wire, key: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"Bearer {key.get_secret_value()}")

    monkeypatch.setattr(provider, "_http", SimpleNamespace(post=broken, aclose=broken), raising=True)
    failed = await failure(provider, wire, key)
    monkeypatch.undo()
    assert (failed.code, failed.retryable, failed.outcome_known) == ("runner_fault", False, False)


async def test_an_error_with_status_200_says_what_it_says(key: SecretStr) -> None:
    async with serving(_always(web.json_response, {"error": {"message": "upstream fell over"}})) as (url, _):
        async with connected("openai", url) as provider:
            assert "upstream fell over" in (await failure(provider, "openai", key)).message


@dataclass
class Listened:
    """What was heard."""

    events: list[str]
    limits: Mapping[str, str] = field(default_factory=dict)

    def heard(self, event: str) -> None:
        self.events.append(event)


async def stream(
    provider: Provider, wire: Wire, key: SecretStr, heard: list[str] | None = None, **fields: Any
) -> Answer:
    listener = Listened([] if heard is None else heard)
    return await provider.stream(OPERATIONS[wire], body(stream=True, **fields), key, 10, listener)


async def test_a_stream_is_heard_as_it_is_said(provider: Provider, wire: Wire, key: SecretStr) -> None:
    heard: list[str] = []
    answer = await stream(provider, wire, key, heard)
    events = [orjson.loads(event) for event in heard]
    if wire == "openai":
        pieces = [event["choices"][0]["delta"].get("content") for event in events if event["choices"]]
    else:
        pieces = [event["delta"].get("text") for event in events if event["type"] == "content_block_delta"]
    assert "".join(piece or "" for piece in pieces) == answer.output
    assert answer.usage == (await call(provider, wire, key)).usage


async def test_a_stream_hides_the_key(simulator: Running, provider: Provider, wire: Wire, key: SecretStr) -> None:
    heard: list[str] = []
    answer = await stream(provider, wire, key, heard, prompt=f"Repeat {key.get_secret_value()} again")
    assert "[key]" in answer.response
    assert key.get_secret_value() not in answer.response + "".join(heard)
    said = f"no {key.get_secret_value()}"
    simulator.control(rules=[{"break_after": 0, "break_by": "error", "message": said}])
    with pytest.raises(CallFailed) as caught:
        await stream(provider, wire, key)
    assert key.get_secret_value() not in "".join(traceback.format_exception(caught.value))


async def test_a_refusal_before_the_stream_is_what_it_is_without(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr
) -> None:
    simulator.control(rules=[{"kind": "rate_limited", "retry_after": 3}])
    with pytest.raises(CallFailed) as caught:
        await stream(provider, wire, key)
    assert (caught.value.code, caught.value.status_code, caught.value.retry_after) == ("rate_limited", 429, 3)
    assert caught.value.outcome_known


async def test_a_provider_that_does_not_stream_answers_as_a_whole(key: SecretStr) -> None:
    completion = {"choices": [{"index": 0, "message": {"content": "Hi."}, "finish_reason": "stop"}]}
    heard: list[str] = []
    async with serving(_always(web.json_response, completion)) as (url, _):
        async with connected("openai", url) as provider:
            assert (await stream(provider, "openai", key, heard)).output == "Hi."
    assert heard == []


NO_STREAMS = {
    "openai": ["data: [DONE]", "data: {", "data: []", 'data: {"choices": [5]}', 'data: {"error": "full"}', ": nothing"],
    "anthropic": [
        'data: {"type": "message_stop"}', 'data: {"type": "content_block_delta", "index": 0}', 'data: "x"',
        'data: {"type": "error", "error": {"type": "overloaded_error", "message": "full"}}',
    ],
}  # fmt: skip


async def test_what_is_no_stream_may_have_been_paid(wire: Wire, key: SecretStr) -> None:
    for said in NO_STREAMS[wire]:
        async with serving(_always(_events, said)) as (url, _), connected(wire, url) as provider:
            with pytest.raises(CallFailed) as caught:
                await stream(provider, wire, key)
        failed = caught.value
        assert (failed.code, failed.outcome_known) == ("provider_unavailable", False), said
        assert "may have charged" in failed.message
        assert ("full" in failed.message) == ("full" in said)
        assert failed.__context__ is None


def _events(said: str) -> web.Response:
    return web.Response(text=said + "\n\n", content_type="text/event-stream")


async def test_the_other_wires_operation_is_rejected_unsent(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr
) -> None:
    other: Operation = "messages" if wire == "openai" else "chat"
    with pytest.raises(CallFailed, match="takes runs of operation"):
        await provider.call(other, body(), key, 10)
    await call(provider, wire, key, stream=False)
    assert simulator.calls()["total"] == 1


@pytest.mark.parametrize("odd", ["", "key\nX-Evil: 1", "clé", "key\x00"])
async def test_a_key_that_no_header_can_carry_is_refused_unsent(
    simulator: Running, provider: Provider, wire: Wire, odd: str
) -> None:
    for attempt in (provider.call(OPERATIONS[wire], body(), SecretStr(odd), 10), provider.check(SecretStr(odd))):
        with pytest.raises(CallFailed) as caught:
            await attempt
        assert caught.value.code == "invalid_api_key"
        assert not odd or odd not in str(caught.value)
    assert simulator.calls()["total"] == 0


async def test_no_key_in_messages_answers_or_debug_logs(
    simulator: Running, provider: Provider, wire: Wire, key: SecretStr, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    simulator.control(
        script=[
            {"kind": "invalid_api_key", "message": "Incorrect API key provided: {key}"},
            {"kind": "status", "status": 400, "message": "x" * 490 + "{key}"},
            {"kind": "hang"},
            {"kind": "reset"},
            {"kind": "malformed"},
            {"merge": {"echo": f"you sent {key.get_secret_value()}"}},
        ]
    )
    refused = await failure(provider, wire, key)
    assert "Incorrect API key provided: [key]" in refused.message
    cut = await failure(provider, wire, key)
    assert key.get_secret_value()[:8] not in cut.message  # hidden before the message is cut, not half of it after
    for seconds in (0.2, 10, 10):
        await failure(provider, wire, key, seconds=seconds)
    answer = await call(provider, wire, key)
    assert "you sent [key]" in answer.response
    assert await provider.check(key)
    logged = "".join(f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records)
    assert "http" in logged.lower(), "nothing was logged at all"
    assert key.get_secret_value() not in logged + repr(provider) + repr(vars(provider))


@pytest.mark.parametrize("written", [
    "a/b<c>&d+e=f-0123", "a\\/b<c>&d+e=f-0123", "a/b\\u003cc\\u003e\\u0026d\\u002be\\u003df-0123",
    "a\\/b\\u003Cc\\u003E\\u0026d\\u002Be\\u003Df-0123",
])  # fmt: skip
def test_a_key_is_hidden_however_json_writes_it(written: str) -> None:
    callee = Callee("openai", "gpt-4o", SecretStr("a/b<c>&d+e=f-0123"))
    assert callee.said(httpx2.Response(401, text=f'{{"message": "{written}!"}}')) == '{"message": "[key]!"}'


async def test_check_verifies_a_key_without_tokens(simulator: Running, provider: Provider, key: SecretStr) -> None:
    assert await provider.check(key)
    assert (simulator.calls()["checks"], simulator.calls()["total"]) == (1, 0)


async def test_check_refuses_a_bad_key(provider: Provider) -> None:
    with pytest.raises(CallFailed) as caught:
        await provider.check(SecretStr("refused-key"))
    assert (caught.value.code, caught.value.retryable) == ("invalid_api_key", False)


@pytest.mark.parametrize("status", [404, 405])
async def test_check_of_a_provider_without_a_models_list_is_unverified(
    simulator: Running, provider: Provider, key: SecretStr, status: int
) -> None:
    simulator.control(rules=[{"path": "models", "kind": "status", "status": status}])
    assert not await provider.check(key)


async def test_check_passes_other_failures_on(simulator: Running, provider: Provider, key: SecretStr) -> None:
    simulator.control(rules=[{"path": "models", "kind": "server_error"}])
    with pytest.raises(CallFailed) as caught:
        await provider.check(key)
    assert caught.value.code == "provider_unavailable"


async def test_a_redirect_does_not_carry_the_key_elsewhere(simulator: Running, wire: Wire, key: SecretStr) -> None:
    redirect = _always(web.Response, status=307, headers={"location": simulator.url + "/v1/messages"})
    async with serving(redirect) as (url, _), connected(wire, url) as provider:
        failed = await failure(provider, wire, key)
    assert (failed.code, failed.status_code) == ("provider_rejected", 307)
    assert simulator.calls()["total"] == 0


async def test_nothing_of_one_tenant_or_of_the_environment_travels_with_the_next(
    wire: Wire, key: SecretStr, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, f"from-the-environment-{name}")
    answer: dict[str, Any] = {"choices": [], "content": []}
    cookie = {"set-cookie": "tenant=first; Path=/"}
    async with serving(_always(web.json_response, answer, headers=cookie)) as (url, seen):
        async with connected(wire, url.replace("127.0.0.1", "localhost")) as provider:
            await call(provider, wire, key)
            await call(provider, wire, SecretStr("another-key"))
    assert "tenant=first" not in str(seen[1])
    assert "from-the-environment" not in str(seen)
    assert [headers["authorization"] for headers in seen] == [f"Bearer {key.get_secret_value()}", "Bearer another-key"]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _always(make: Callable[..., web.Response], *args: Any, **kwargs: Any) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return make(*args, **kwargs)

    return handler


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """Answer whatever the simulator, which is a well-behaved provider, would not; and keep the headers received."""
    seen: list[dict[str, str]] = []

    async def recorded(request: web.Request) -> web.StreamResponse:
        await request.read()
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", recorded)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()
