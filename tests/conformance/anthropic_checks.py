"""The official `anthropic` client against the gateway."""

import json
from typing import Any

import anthropic
from anthropic import Anthropic
from tests.conformance.wire import TOKEN, URL, check, failure, fresh, raw, received, run_all

CLAUDE, BARE = "anthropic/claude-haiku-4-5", "claude-haiku-4-5"
MESSAGES = "/v1/messages"
client = Anthropic(base_url=URL, api_key=TOKEN, max_retries=0)
create: Any = client.messages.create
TOOLS = [
    {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
    {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
]


def asked(words: str = "", model: str = CLAUDE, **fields: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": fresh(words)}], **fields}


def heard(words: str = "", **fields: Any) -> list[Any]:
    return list(create(**asked(words, stream=True, **fields)))


@check("every error has Anthropic's shape and a request id: 401, 404, 405, 413, 422, unsupported")
def _() -> None:
    for answer, status, kind in [
        (raw(MESSAGES, asked(), authorization="Bearer nothing"), 401, "authentication_error"),
        (raw(MESSAGES + "/nowhere", {}), 404, "not_found_error"),
        (raw(MESSAGES, method="GET"), 405, "invalid_request_error"),
        (raw(MESSAGES, b" " * (8 * 1024 * 1024 + 1)), 413, "request_too_large"),
        (raw(MESSAGES, b"{"), 422, "invalid_request_error"),
        (raw(MESSAGES, asked(model="openai/gpt-4.1")), 422, "invalid_request_error"),
        (raw(MESSAGES + "/count_tokens", asked()), 422, "invalid_request_error"),
        (raw(MESSAGES, asked(model="anthropic/missing")), 404, "not_found_error"),
    ]:
        assert answer.status == status, answer
        body = answer.body
        assert list(body) == ["type", "error", "request_id"]
        assert (body["type"], set(body["error"]), body["error"]["type"]) == ("error", {"type", "message"}, kind)
        assert body["request_id"] == answer.headers["request-id"]


@check("the client raises the right class, with the request id in it")
def _() -> None:
    error = failure(anthropic.BadRequestError, create, **asked("-refused"))
    assert error.request_id == error.response.headers["request-id"]
    assert error.body["error"]["type"] == "invalid_request_error"
    failure(anthropic.NotFoundError, create, **asked(model="anthropic/missing"))
    stranger = Anthropic(base_url=URL, api_key="nothing", max_retries=0)
    failure(anthropic.AuthenticationError, stranger.messages.create, **asked())


@check("529 is OverloadedError, 429 is RateLimitError with its retry-after")
def _() -> None:
    failure(anthropic.OverloadedError, create, **asked("-overloaded", "anthropic/claude-opus-4-5"))
    error = failure(anthropic.RateLimitError, create, **asked("-soon", "anthropic/claude-sonnet-4-5"))
    assert 80 <= int(error.response.headers["retry-after"]) <= 90
    assert error.response.headers["x-should-retry"] == "false"


@check("request-id on success, stream and error: the run's id")
def _() -> None:
    message = create(**asked())
    assert raw(f"/api/runs/{message._request_id}", method="GET").status == 200
    with client.messages.stream(**asked()) as stream:
        assert "".join(stream.text_stream)
        assert stream.response.headers["request-id"]


@check("the provider's rate limits, streams included")
def _() -> None:
    for streamed in (False, True):
        answer = raw(MESSAGES, asked(stream=streamed))
        assert int(answer.headers["anthropic-ratelimit-requests-remaining"]) > 0, answer.headers


@check("a stream has its events under their names, in order, once each")
def _() -> None:
    for fields in ({}, {"tools": TOOLS, "tool_choice": {"type": "any"}}, {"max_tokens": 4}):
        answer = raw(MESSAGES, asked(" weather clock", stream=True, **fields))
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        bodies = [json.loads(data) for _, data in answer.events]
        names = [name for name, _ in answer.events if name != "ping"]
        assert [name for name, _ in answer.events] == [body["type"] for body in bodies]
        assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
        assert names.count("message_start") == names.count("message_delta") == names.count("message_stop") == 1
        opened = None
        for body in bodies:
            if body["type"] == "content_block_start":
                assert opened is None
                opened = body["index"]
                assert body["content_block"]["type"] != "tool_use" or body["content_block"]["input"] == {}
            elif body["type"] == "content_block_delta":
                assert opened == body["index"]
            elif body["type"] == "content_block_stop":
                assert opened == body["index"]
                opened = None
        assert bodies[-2]["usage"]["output_tokens"] > 0


@check("the real input and cache counts are in message_start")
def _() -> None:
    for _ in range(8):  # of these prompts, one in four reads from the cache
        body = asked()
        whole = create(**body).usage
        start = next(iter(create(**body, stream=True)))
        assert start.type == "message_start"
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            assert getattr(start.message.usage, name) == getattr(whole, name)


@check("a streamed message is the one that is not streamed")
def _() -> None:
    for fields in ({}, {"stop_sequences": ["three"]}, {"max_tokens": 5}, {"tools": TOOLS}):
        for model in (CLAUDE, BARE):
            body = asked(" weather", model, **fields)
            whole = create(**body)
            with client.messages.stream(**body) as stream:
                streamed = stream.get_final_message()
            assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
            assert (streamed.stop_reason, streamed.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
            assert streamed.usage.output_tokens == whole.usage.output_tokens


@check("what fails before the first byte has its own status; a later failure is an error event that the client raises")
def _() -> None:
    failure(anthropic.BadRequestError, heard, "-refused")
    for words in ("-error", "-cut", "-end"):
        assert "may have charged" in str(failure(anthropic.APIStatusError, heard, words))
    answer = raw(MESSAGES, asked("-error", stream=True))
    name, data = answer.events[-1]
    assert (name, answer.status) == ("error", 200)
    assert json.loads(data)["request_id"] == answer.headers["request-id"]


@check("a silence is filled with comments, which the client ignores")
def _() -> None:
    assert raw(MESSAGES, asked("-slow", stream=True)).content.startswith(b": keep-alive\n\n")
    assert heard("-slow")[-1].type == "message_stop"


@check("cache_control, thinking signatures, images and what the gateway does not know reach the provider verbatim")
def _() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmVk"}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}
    body = asked(system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}])
    body["messages"] += [
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Three."}]},
        {
            "role": "user",
            "content": [image, {"type": "text", "text": "Which?", "cache_control": {"type": "ephemeral"}}],
        },
    ]
    body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    create(**body, extra_body={"a_field_of_the_future": [1.5, None]})
    expected = {**body, "model": "claude-haiku-4-5", "a_field_of_the_future": [1.5, None]}
    assert received() == expected


@check("models in Anthropic's envelope, and each one by its name; a bearer token; nothing counted that is not known")
def _() -> None:
    assert CLAUDE in {model.id for model in client.models.list()}
    assert client.models.retrieve(BARE).id == BARE
    bearer = Anthropic(base_url=URL, auth_token=TOKEN, max_retries=0)
    assert bearer.messages.create(**asked()).content
    failure(anthropic.UnprocessableEntityError, client.messages.count_tokens, model=CLAUDE, messages=[])


@check("an Idempotency-Key names one run, streamed or not")
def _() -> None:
    for stream in (False, True):
        body, key = asked(stream=stream), {"Idempotency-Key": fresh()}
        answers = [client.messages.with_raw_response.create(**body, extra_headers=key) for _ in range(2)]
        assert answers[0].headers["request-id"] == answers[1].headers["request-id"]
        said = [answer.parse() for answer in answers]
        if stream:
            texts = ["".join(getattr(getattr(e, "delta", None), "text", None) or "" for e in each) for each in said]
        else:
            texts = [each.content[0].text for each in said]
        assert texts[0] == texts[1] != ""


if __name__ == "__main__":
    print(anthropic.__version__, flush=True)
    run_all()
