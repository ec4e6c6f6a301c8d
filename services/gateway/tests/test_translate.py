"""Chat completions ⇄ Anthropic's messages: what has a counterpart is translated, anything else named and refused."""

import json
from collections import Counter
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pydantic import HttpUrl

from common.errors import InvalidRequest, Unsupported
from common.providers import ProviderSpec
from gateway.translate import answer, messages, request

Body = dict[str, Any]

URL = HttpUrl("http://127.0.0.1:9/v1")
CHAT = ProviderSpec(name="local", wire="openai", base_url=URL)
CLAUDE = ProviderSpec(name="anthropic", wire="anthropic", base_url=URL)

HELLO: Body = {"role": "user", "content": "Hello."}
TOOL: Body = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
WORDS = {
    "role", "content", "type", "text", "image_url", "url", "detail", "tools", "function", "name", "arguments", "id",
    "tool_calls", "tool_call_id", "tool_choice", "parameters", "messages", "max_tokens", "temperature", "stop", "user",
    "stream", "n", "response_format", "parallel_tool_calls", "strict", "cache_control", "refusal", "metadata", "system",
}  # fmt: skip
CALL: Body = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Łódź"}'}}


def translated(**fields: Any) -> Body:
    """The message that a chat completion's body becomes."""
    body: Body = {"model": "anything", "messages": [HELLO], **fields}
    before = deepcopy(body)
    operation, message = request(body, CLAUDE, "claude")
    assert operation == "messages"
    assert body == before, "the caller's body is nobody else's"
    return message


def test_chat_stays_verbatim_but_for_the_model() -> None:
    body = {"model": "local/x", "messages": [HELLO], "n": 3, "seed": 7, "a field of the future": {"a": [1, None]}}
    assert request(body, CHAT, "x") == ("chat", {**body, "model": "x"})
    assert body["model"] == "local/x"


def test_messages_stay_verbatim_but_for_the_model() -> None:
    body = {"model": "anthropic/c", "messages": [{"role": "user", "content": [{"type": "x", "cache_control": {}}]}]}
    assert messages(body, CLAUDE, "c") == ("messages", {**body, "model": "c"})
    with pytest.raises(Unsupported, match="'local' does not speak Anthropic's messages"):
        messages(body, CHAT, "c")


def test_the_least() -> None:
    assert translated() == {
        "model": "claude",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello."}]}],
    }


SAME: list[tuple[Body, Body]] = [
    ({"max_tokens": 5}, {"max_tokens": 5}),
    ({"max_completion_tokens": 6}, {"max_tokens": 6}),
    ({"max_completion_tokens": 6, "max_tokens": 6}, {"max_tokens": 6}),
    ({"temperature": 0}, {"temperature": 0}),
    ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5, "top_p": 1}),
    ({"stop": "end"}, {"stop_sequences": ["end"]}),
    ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
    ({"user": "u1"}, {"metadata": {"user_id": "u1"}}),
    ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    ({"tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}),
    ({"tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
    ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
    (
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tool_choice": {"type": "tool", "name": "weather"}},
    ),
    ({"parallel_tool_calls": True}, {}),
    ({"parallel_tool_calls": False}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    (
        {"parallel_tool_calls": False, "tool_choice": "required"},
        {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    ({"parallel_tool_calls": False, "tool_choice": "none"}, {"tool_choice": {"type": "none"}}),
    ({"tools": [TOOL]}, {"tools": [{"name": "weather", "input_schema": {"type": "object"}}]}),
    (
        {"tools": [{"type": "function", "function": {"name": "now", "description": "d", "strict": True}}]},
        {
            "tools": [
                {
                    "name": "now",
                    "description": "d",
                    "strict": True,
                    "input_schema": {"type": "object", "properties": {}},
                }
            ]
        },
    ),
    (  # what asks for nothing
        {
            "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": False, "logit_bias": {}, "seed": None,
            "response_format": {"type": "text"}, "modalities": ["text"], "service_tier": "auto", "store": False,
            "tools": [], "stop": None, "user": None, "metadata": {}, "stream": False,
        },
        {},
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SAME)))
def test_a_field_with_a_counterpart(number: int) -> None:
    fields, expected = SAME[number]
    assert translated(**fields) == {**translated(), **expected}


def test_a_conversation_with_tools_and_images() -> None:
    conversation: list[Body] = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [
            {"type": "text", "text": "And kind.", "cache_control": {"type": "ephemeral"}},
        ]},
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png", "detail": "auto"}},
            {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,aGk="}},
        ]},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL, {**CALL, "id": "call_2"}],
         "refusal": None, "annotations": [], "audio": None},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "sun"}]},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": ""},
    ]  # fmt: skip
    message = translated(messages=conversation)
    assert message["system"] == [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "And kind.", "cache_control": {"type": "ephemeral"}},
    ]
    use: Body = {"type": "tool_use", "name": "weather", "input": {"city": "Łódź"}}
    assert message["messages"] == [
        {"role": "user", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        ]},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Let me look."}, {**use, "id": "call_1"}, {**use, "id": "call_2"},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "rain"}]},
            {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "sun"}]},
            {"type": "text", "text": "And?"},
        ]},
        {"role": "assistant", "content": []},
    ]  # fmt: skip


def part(**fields: Any) -> list[Body]:
    return [{"role": "user", "content": [fields]}]


REFUSED: list[tuple[Body, str]] = [
    ({"n": 2}, "n"), ({"seed": 7}, "seed"), ({"logprobs": True}, "logprobs"), ({"temperature": 1.1}, "temperature"),
    ({"frequency_penalty": 0.1}, "frequency_penalty"), ({"presence_penalty": -1}, "presence_penalty"),
    ({"response_format": {"type": "json_object"}}, "response_format"), ({"modalities": ["audio"]}, "modalities"),
    ({"reasoning_effort": "low"}, "reasoning_effort"), ({"service_tier": "flex"}, "service_tier"),
    ({"functions": [{}]}, "functions"), ({"logit_bias": {"1": 2}}, "logit_bias"), ({"store": True}, "store"),
    ({"metadata": {"a": "b"}}, "metadata"), ({"a field of the future": 0}, "a field of the future"),
    ({"tools": [{"type": "custom"}]}, "tools.0.type"),
    ({"tools": [TOOL, {**TOOL, "function": {"name": "x", "new": 1}}]}, "tools.1.function.new"),
    ({"tool_choice": "maybe"}, "tool_choice"), ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
    ({"messages": [HELLO, {"role": "system", "content": "x"}]}, "messages.1.role"),
    ({"messages": [{"role": "critic", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{**HELLO, "name": "Ann"}]}, "messages.0.name"),
    ({"messages": [HELLO, {"role": "assistant", "content": None, "refusal": "no"}]}, "messages.1.refusal"),
    ({"messages": [HELLO, {"role": "assistant", "content": "a", "tool_calls": [{**CALL, "type": "custom"}]}]},
     "messages.1.tool_calls.0.type"),
    ({"messages": part(type="input_audio", input_audio={})}, "messages.0.content.0.type"),
    ({"messages": part(type="image_url", image_url={"url": "http://example.com/a.png"})},
     "messages.0.content.0.image_url.url"),
    ({"messages": part(type="image_url", image_url={"url": "data:text/plain;base64,aGk="})},
     "messages.0.content.0.image_url.url"),
    ({"messages": part(type="image_url", image_url={"url": "https://example.com/a.png", "detail": "high"})},
     "messages.0.content.0.image_url.detail"),
    ({"messages": [HELLO, {"role": "assistant", "content": [{"type": "image_url"}]}]}, "messages.1.content.0.type"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_a_field_without_a_counterpart_is_named(number: int) -> None:
    fields, param = REFUSED[number]
    with pytest.raises(Unsupported) as caught:
        translated(**fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(f"{param}: ")


INVALID: list[tuple[Body, str]] = [
    ({"messages": None}, "messages"), ({"messages": "x"}, "messages"), ({"messages": ["x"]}, "messages.0"),
    ({"messages": [{"content": "x"}]}, "messages.0.role"), ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": True}, "max_tokens"), ({"max_tokens": 1.5}, "max_tokens"), ({"stop": [1]}, "stop"),
    ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"), ({"tools": [{}]}, "tools.0.type"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
    *(({"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": text}}]}]},
       "messages.0.tool_calls.0.function.arguments") for text in ("[", "[1]", '{"a": NaN}', '{"a": ' + "[" * 10**6)),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(INVALID)))
def test_what_is_no_chat_completion_is_named(number: int) -> None:
    fields, param = INVALID[number]
    with pytest.raises(InvalidRequest) as caught:
        translated(**fields)
    assert caught.value.param == param


def test_an_answer_of_text() -> None:
    said = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-1",
        "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}], "stop_reason": "max_tokens",
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2,
                  "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 3}},
    }  # fmt: skip
    assert answer("anthropic", json.dumps(said), 5) == {
        "id": "msg_1", "object": "chat.completion", "created": 5, "model": "claude-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": None},
                     "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 16, "completion_tokens": 7, "total_tokens": 23,
                  "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
                  "completion_tokens_details": {"reasoning_tokens": 3}},
    }  # fmt: skip


def test_an_answer_of_tool_calls() -> None:
    use: Body = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Łódź"}}
    said = {"content": [use, {**use, "id": "toolu_2", "input": {}}], "stop_reason": "tool_use", "usage": {}}
    choice = answer("anthropic", json.dumps(said))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Łódź"}'}},
        {"id": "toolu_2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
    ]


def test_an_answer_in_chat_is_the_provider_s_own() -> None:
    said = {"id": "x", "choices": [], "a field of the future": 1}
    assert answer("openai", json.dumps(said)) == said


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(WORDS)), inner, max_size=4),
    max_leaves=12,
)
GOOD: list[Body] = [fields for fields, _ in SAME] + [fields for fields, _ in REFUSED]


outcomes: Counter[str] = Counter()


def outcome(body: Body) -> InvalidRequest | Unsupported | None:
    try:
        translated(**body)
    except (InvalidRequest, Unsupported) as error:
        return error
    return None


@seed(20)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.sampled_from(GOOD), st.dictionaries(st.sampled_from(sorted(WORDS)), ANYTHING, max_size=4), ANYTHING)
def test_whatever_is_sent_is_translated_or_named(good: Body, odd: Body, message: Any) -> None:
    """Nothing else than the two errors comes out, and each says which field it is about."""
    for body in ({**good, **odd}, {**odd, "messages": [HELLO, message]}):
        error = outcome(body)
        outcomes[type(error).__name__] += 1
        assert error is None or (error.param or "body") in error.message


def test_the_fuzz_reached_every_outcome() -> None:
    print("seed 20:", dict(outcomes))
    assert set(outcomes) == {"InvalidRequest", "Unsupported", "NoneType"}
