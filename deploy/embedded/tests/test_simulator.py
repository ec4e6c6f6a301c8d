"""The simulated provider: real-looking on both wires, steerable, and an honest witness of what it received."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import orjson
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import ValidationError

from common.engines.ports import free_port
from embedded.simulator import Running, running
from embedded.simulator.behaviour import Behaviour, Steering, transient
from embedded.simulator.ledger import Ledger
from embedded.simulator.prompt import Call, digest, prompt_text, read_call, tokens
from embedded.simulator.writing import write

PROMPT = "Name three rivers in Europe, please."


@pytest.fixture
async def simulator() -> AsyncIterator[Running]:
    async with running() as simulator:
        yield simulator


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def chat(model: str = "gpt-4o", prompt: str = PROMPT, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


async def post(
    http: aiohttp.ClientSession, url: str, body: Any, key: str = "a-key"
) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with http.post(url, json=body, headers={"x-api-key": key}) as answer:
        return answer.status, orjson.loads(await answer.read()), {k.lower(): v for k, v in answer.headers.items()}


async def test_the_official_openai_client_is_at_home(simulator: Running) -> None:
    async with AsyncOpenAI(api_key="a-key", base_url=simulator.openai_base_url, max_retries=0) as client:
        completion = await client.chat.completions.create(model="o3", messages=[{"role": "user", "content": PROMPT}])
        assert "gpt-4o" in [model.id async for model in client.models.list()]
    assert (completion.choices[0].message.content or "").startswith(
        f"Simulated answer {digest(PROMPT)[:6]}: Name three"
    )
    assert completion.usage
    assert completion.usage.completion_tokens_details
    assert completion.usage.completion_tokens == 2 * (completion.usage.completion_tokens_details.reasoning_tokens or 0)


async def test_the_official_anthropic_client_is_at_home(simulator: Running) -> None:
    async with AsyncAnthropic(api_key="a-key", base_url=simulator.anthropic_base_url, max_retries=0) as client:
        message = await client.messages.create(
            model="claude-haiku-4-5", max_tokens=5, messages=[{"role": "user", "content": PROMPT}]
        )
        assert "claude-haiku-4-5" in [model.id async for model in client.models.list()]
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 5


@pytest.mark.parametrize("path", ["chat", "messages"])
def test_an_answer_depends_on_its_prompt_alone(path: str) -> None:
    first, again = (write(read_call(path, key, chat())) for key in ("one", "two"))
    assert first == again
    assert first != write(read_call(path, "one", chat(prompt="Another question")))


def test_tokens_are_four_characters_each() -> None:
    assert [tokens(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]
    written = write(read_call("chat", "k", chat()))
    assert (written.prompt_tokens, written.output_tokens) == (9, tokens(written.text))


def test_the_prompts_text_is_system_and_every_text_part() -> None:
    content = [
        {"type": "text", "text": "two"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "three"},
    ]
    body = {"system": "one", "messages": [{"role": "user", "content": content}, {"role": "user", "content": "four"}]}
    assert prompt_text(body) == "one\ntwo\nthree\nfour"


def test_some_prompts_read_the_cache_and_some_write_it() -> None:
    calls = [read_call("messages", "k", chat(prompt=f"{PROMPT} {number}")) for number in range(40)]
    written = [write(call) for call in calls]
    assert 0 < sum(answer.cached > 0 for answer in written) < 40
    assert 0 < sum(answer.cache_writes > 0 for answer in written) < 40
    assert all(answer.cached + answer.cache_writes <= answer.prompt_tokens for answer in written)


OPENAI_FAILURES = {
    "invalid_api_key": (401, "invalid_request_error", "invalid_api_key"),
    "forbidden": (403, "request_forbidden", "unsupported_country_region_territory"),
    "rate_limited": (429, "requests", "rate_limit_exceeded"),
    "insufficient_quota": (429, "insufficient_quota", "insufficient_quota"),
    "model_not_found": (404, "invalid_request_error", "model_not_found"),
    "bad_request": (400, "invalid_request_error", None),
    "server_error": (500, "server_error", None),
    "overloaded": (503, "server_error", None),
}
ANTHROPIC_FAILURES = {
    "invalid_api_key": (401, "authentication_error"),
    "forbidden": (403, "permission_error"),
    "rate_limited": (429, "rate_limit_error"),
    "insufficient_quota": (400, "invalid_request_error"),
    "model_not_found": (404, "not_found_error"),
    "bad_request": (400, "invalid_request_error"),
    "server_error": (500, "api_error"),
    "overloaded": (529, "overloaded_error"),
}


@pytest.mark.parametrize("kind", OPENAI_FAILURES)
async def test_failures_look_like_openais(simulator: Running, http: aiohttp.ClientSession, kind: str) -> None:
    simulator.control(rules=[{"kind": kind}])
    status, body, _ = await post(http, simulator.url + "/v1/chat/completions", chat())
    assert (status, body["error"]["type"], body["error"]["code"]) == OPENAI_FAILURES[kind]
    assert set(body["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("kind", ANTHROPIC_FAILURES)
async def test_failures_look_like_anthropics(simulator: Running, http: aiohttp.ClientSession, kind: str) -> None:
    simulator.control(rules=[{"kind": kind}])
    status, body, _ = await post(http, simulator.url + "/v1/messages", chat(max_tokens=9))
    assert (status, body["error"]["type"]) == ANTHROPIC_FAILURES[kind]
    assert (body["type"], set(body)) == ("error", {"type", "error", "request_id"})


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "no model"}]},
        {"model": "m", "max_tokens": 1, "messages": []},
        {"model": "m", "messages": [{"role": "user", "content": "no max_tokens"}]},
        {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        ["not an object"],
    ],
)
async def test_a_bad_body_is_rejected(simulator: Running, http: aiohttp.ClientSession, body: Any) -> None:
    assert (await post(http, simulator.url + "/v1/messages", body))[0] == 400
    assert simulator.calls()["served"] == 0


@pytest.mark.parametrize("key", ["", "refused-key"])
async def test_refused_keys(simulator: Running, http: aiohttp.ClientSession, key: str) -> None:
    assert (await post(http, simulator.url + "/v1/chat/completions", chat(), key))[0] == 401


async def test_missing_models(simulator: Running, http: aiohttp.ClientSession) -> None:
    status, body, _ = await post(http, simulator.url + "/v1/chat/completions", chat("missing-1"))
    assert (status, "missing-1" in body["error"]["message"]) == (404, True)


async def test_retry_after_says_how_long(simulator: Running, http: aiohttp.ClientSession) -> None:
    simulator.control(rules=[{"kind": "rate_limited", "retry_after": 1.2}])
    _, _, headers = await post(http, simulator.url + "/v1/chat/completions", chat())
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1200")


async def test_control_over_http_replaces_what_it_names(simulator: Running, http: aiohttp.ClientSession) -> None:
    control, calls = simulator.url + "/control", simulator.url + "/control/calls"
    chats = simulator.url + "/v1/chat/completions"
    await post(http, control, {"latency_ms": 5})
    _, behaviour, _ = await post(http, control, {"script": [{"kind": "server_error"}, {}]})
    assert behaviour["latency_ms"] == 5
    assert [(await post(http, chats, chat()))[0] for _ in range(3)] == [500, 200, 200]
    async with http.get(calls, params={"prompt": PROMPT, "all": "1"}) as answer:
        report = orjson.loads(await answer.read())
    assert report["prompt"] == report["by_prompt"][digest(PROMPT)] == {"served": 2, "failed": 1}
    assert (report["total"], report["served"], report["statuses"]) == (3, 2, {"500": 1, "200": 2})
    assert report["repeated"] == {digest(PROMPT): 2}
    assert report["keys"] == {digest("a-key"): 3}
    async with http.delete(calls) as answer:
        assert orjson.loads(await answer.read())["total"] == 0
    async with http.delete(control) as answer:
        assert orjson.loads(await answer.read())["latency_ms"] == 0


@pytest.mark.parametrize("told", [{"latency": 5}, {"failure": {"server_error": 2}}, {"rules": [{"kind": "x"}]}, [1]])
async def test_control_refuses_what_it_does_not_understand(
    simulator: Running, http: aiohttp.ClientSession, told: Any
) -> None:
    status, body, _ = await post(http, simulator.url + "/control", told)
    assert (status, "error" in body) == (422, True)
    assert simulator.simulator.steering.behaviour == Behaviour()


def fates(behaviour: Behaviour, calls: list[Call]) -> list[str]:
    steering = Steering(behaviour)
    return [steering.fate(call).kind for call in calls]


def test_rules_match_by_model_key_and_prompt_and_wear_out() -> None:
    rule = {"kind": "overloaded", "model": "gpt-4o", "key": "k", "prompt": "rivers", "times": 1}
    behaviour = Behaviour.model_validate({"rules": [rule]})
    calls = [
        read_call("chat", "k", chat("gpt-4")),
        read_call("chat", "other", chat()),
        read_call("chat", "k", chat(prompt="lakes")),
        read_call("models", "k", {}),
        read_call("chat", "k", chat()),
        read_call("chat", "k", chat()),
    ]
    assert fates(behaviour, calls) == ["ok", "ok", "ok", "ok", "overloaded", "ok"]


def test_failures_are_drawn_alike_in_any_order() -> None:
    calls = [read_call("chat", "k", chat(prompt=f"prompt {number}")) for number in range(300)]
    behaviour = Behaviour(failure=transient(0.3), seed=7)
    drawn = fates(behaviour, calls)
    assert 50 < sum(kind != "ok" for kind in drawn) < 130
    assert drawn == fates(behaviour, calls[::-1])[::-1]
    assert drawn != fates(behaviour.model_copy(update={"seed": 8}), calls)


def test_a_failing_prompt_may_succeed_when_it_is_repeated() -> None:
    ledger, steering = Ledger(), Steering(Behaviour(failure={"server_error": 0.5}))
    kinds = set()
    for _ in range(20):
        call = ledger.placed(read_call("chat", "k", chat()))
        kinds.add(steering.fate(call).kind)
        ledger.received(call, 200)
    assert kinds == {"ok", "server_error"}


def test_probabilities_add_up_to_one_at_most() -> None:
    with pytest.raises(ValidationError, match="add up to 1"):
        Behaviour(failure={"server_error": 0.6, "hang": 0.6})


def test_the_limit_lets_a_burst_through_and_says_when_the_next_token_comes() -> None:
    steering = Steering(Behaviour.model_validate({"limit": {"per_second": 0.5, "burst": 2}}))
    steps = [steering.fate(read_call("chat", "k", chat())) for _ in range(3)]
    assert [step.kind for step in steps] == ["ok", "ok", "rate_limited"]
    assert steps[2].retry_after == pytest.approx(2, abs=0.1)


async def test_a_call_that_hangs_ends_with_its_client(simulator: Running, http: aiohttp.ClientSession) -> None:
    simulator.control(rules=[{"kind": "hang"}])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await post(http, simulator.url + "/v1/chat/completions", chat())
    async with asyncio.timeout(5):
        while simulator.calls()["in_flight"]:
            await asyncio.sleep(0.01)
    assert simulator.calls()["statuses"] == {"0": 1}


async def test_a_reset_cuts_the_connection_after_the_request(simulator: Running, http: aiohttp.ClientSession) -> None:
    simulator.control(rules=[{"kind": "reset"}])
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(http, simulator.url + "/v1/chat/completions", chat())
    assert simulator.calls()["total"] == 1


async def test_malformed_answers_count_as_served(simulator: Running, http: aiohttp.ClientSession) -> None:
    simulator.control(rules=[{"kind": "malformed"}])
    with pytest.raises(orjson.JSONDecodeError):
        await post(http, simulator.url + "/v1/chat/completions", chat())
    assert simulator.calls(PROMPT)["prompt"] == {"served": 1, "failed": 0}


async def test_the_usage_counted_is_the_usage_answered(simulator: Running, http: aiohttp.ClientSession) -> None:
    said = [
        (await post(http, simulator.url + "/v1/chat/completions", chat("o3", f"prompt {number}", n=2)))[1]["usage"]
        for number in range(12)
    ]
    assert simulator.calls()["usage"]["o3"] == {
        "input": sum(usage["prompt_tokens"] for usage in said),
        "cached": sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in said),
        "cache_writes": 0,
        "output": sum(usage["completion_tokens"] for usage in said),
        "reasoning": sum(usage["completion_tokens_details"]["reasoning_tokens"] for usage in said),
    }


async def test_a_million_calls_fit() -> None:
    ledger = Ledger()
    call = read_call("chat", "k", chat())
    for number in range(20_000):
        ledger.received(Call(call.path, call.key, call.model, {}, "", f"{number:016x}"), 200)
    assert sys.getsizeof(ledger._served) / 20_000 < 80  # bytes a call, and 32 more for its number


def test_the_command_says_where_it_listens_and_ends_on_sigterm() -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "embedded.simulator"],
        env={**os.environ, "SIMULATOR_PORT": str(port)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == f"simulated provider: OPENAI_BASE_URL=http://127.0.0.1:{port}/v1\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0


WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


async def test_the_official_openai_client_streams(simulator: Running) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}]}
    async with AsyncOpenAI(api_key="a-key", base_url=simulator.openai_base_url, max_retries=0) as client:
        for fields in ({}, {"n": 2}, {"tools": [tool]}):
            more: dict[str, Any] = {**asked, **fields}
            whole = await client.chat.completions.create(**more)
            async with client.chat.completions.stream(**more, stream_options={"include_usage": True}) as stream:
                streamed = await stream.get_final_completion()
            assert streamed.usage == whole.usage
            for said, had in zip(streamed.choices, whole.choices, strict=True):
                assert (said.message.content, said.finish_reason) == (had.message.content, had.finish_reason)
                calls = [[call.to_dict()["id"] for call in c.message.tool_calls or []] for c in (said, had)]
                assert calls[0] == calls[1]
    assert [call.id for call in whole.choices[0].message.tool_calls or []] == ["call_0"]


async def test_the_official_anthropic_client_streams(simulator: Running) -> None:
    asked: dict[str, Any] = {
        "model": "claude-haiku-4-5", "max_tokens": 200, "messages": [{"role": "user", "content": PROMPT}],
    }  # fmt: skip
    tools = [{"name": "weather", "input_schema": WEATHER}, {"name": "now", "input_schema": {"type": "object"}}]
    async with AsyncAnthropic(api_key="a-key", base_url=simulator.anthropic_base_url, max_retries=0) as client:
        for fields in ({}, {"stop_sequences": ["three"]}, {"tools": tools, "tool_choice": {"type": "any"}}):
            whole = await client.messages.create(**asked, **fields)
            async with client.messages.stream(**asked, **fields) as stream:
                streamed = await stream.get_final_message()
            assert streamed.stop_reason == whole.stop_reason
            assert streamed.usage == whole.usage
            assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert whole.stop_reason == "tool_use"


@pytest.mark.parametrize("how", ["cut", "end", "error"])
async def test_a_stream_breaks_off_after_so_many_events(
    simulator: Running, http: aiohttp.ClientSession, how: str
) -> None:
    simulator.control(rules=[{"break_after": 2, "break_by": how, "pace_ms": 50}])
    heard = b""
    sending = http.post(
        f"{simulator.openai_base_url}/chat/completions", json={**chat(), "stream": True}, headers={"x-api-key": "k"}
    )
    with suppress(aiohttp.ClientError):
        async with sending as answer:
            async for piece in answer.content.iter_any():
                heard += piece
    assert heard.count(b"data: ") == (3 if how == "error" else 2)
    assert (b"error" in heard) == (how == "error")
    assert b"[DONE]" not in heard
