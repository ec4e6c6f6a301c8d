"""The official `openai` client against the gateway, of whichever version this process imports."""

import asyncio
import json
from typing import Any

import openai
from openai import OpenAI
from tests.conformance.wire import TOKEN, URL, calls, check, failure, fresh, raw, received, run_all

CHAT, CLAUDE = "openai/gpt-4.1", "anthropic/claude-haiku-4-5"
MODELS = (CHAT, CLAUDE, "claude-haiku-4-5")
"""Both wires, and a bare name."""

COMPLETIONS = "/v1/chat/completions"
client = OpenAI(base_url=f"{URL}/v1", api_key=TOKEN, max_retries=0)
create: Any = client.chat.completions.create
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


def asked(model: str, words: str = "", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": fresh(words)}], **fields}


def heard(model: str, words: str = "", **fields: Any) -> list[Any]:
    return list(create(**asked(model, words, stream=True, **fields)))


def in_shape(body: Any) -> None:
    assert list(body) == ["error"], body
    assert set(body["error"]) == {"message", "type", "param", "code"}, body
    assert isinstance(body["error"]["message"], str)
    assert isinstance(body["error"]["type"], str)


@check("1 every error has OpenAI's shape: 401, 404, 405, 413, 422, unsupported")
def _() -> None:
    stranger = {"authorization": "Bearer nothing"}
    for answer, status in [
        (raw(COMPLETIONS, asked(CHAT), **stranger), 401),
        (raw("/v1/nowhere", {}), 404),
        (raw(COMPLETIONS, method="GET"), 405),
        (raw(COMPLETIONS, b" " * (8 * 1024 * 1024 + 1)), 413),
        (raw(COMPLETIONS, {"model": CHAT, "stream": 5}), 422),
        (raw(COMPLETIONS, b"{"), 422),
        (raw(COMPLETIONS, asked(CLAUDE, seed=7)), 422),
        (raw(COMPLETIONS, asked("nobody/nothing")), 400),
        (raw(COMPLETIONS, asked("openai/missing")), 404),
    ]:
        assert answer.status == status, answer
        in_shape(answer.body)


@check("1 the client raises the right class, with the fields in it")
def _() -> None:
    error = failure(openai.UnprocessableEntityError, create, **asked(CLAUDE, seed=7))
    assert (error.code, error.param, error.type) == ("unsupported", "seed", "invalid_request_error")
    assert "seed: " in error.message
    error = failure(openai.NotFoundError, create, **asked("openai/missing"))
    assert error.code == "model_not_found"
    failure(openai.BadRequestError, create, **asked("nobody/nothing"))
    stranger = OpenAI(base_url=f"{URL}/v1", api_key="nothing", max_retries=0)
    failure(openai.AuthenticationError, stranger.models.list)


@check("2 no error inside a 200: what fails raises, also where the provider answers 200")
def _() -> None:
    for model in MODELS:
        error = failure(openai.BadRequestError, create, **asked(model, "-refused"))
        assert error.code == "provider_rejected"
    error = failure(openai.InternalServerError, create, **asked(CHAT, "-nothing"))
    assert error.code == "provider_unavailable"


@check("3 429 with a retry-after of at most 120 s; never tried again by the client once accepted")
def _() -> None:
    patient = OpenAI(base_url=f"{URL}/v1", api_key=TOKEN, max_retries=2)
    for words, model, after in [("-soon", "openai/gpt-4", 90), ("-later", "openai/gpt-4-turbo", None)]:
        before = calls()
        ask: Any = patient.chat.completions.create
        error = failure(openai.RateLimitError, ask, **asked(model, words))
        headers = error.response.headers
        assert headers["x-should-retry"] == "false"
        assert calls() - before == 1
        if after is None:
            assert "retry-after" not in headers
        else:
            assert after - 10 <= int(headers["retry-after"]) <= after


@check("3 an account without credit is 429 insufficient_quota, and is not tried again")
def _() -> None:
    error = failure(openai.RateLimitError, create, **asked(CHAT, "-broke"))
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    assert error.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in error.response.headers


@check("4 the provider's rate limits, streams included")
def _() -> None:
    for model, name in [(CHAT, "x-ratelimit-remaining-requests"), (CLAUDE, "anthropic-ratelimit-requests-remaining")]:
        whole = client.chat.completions.with_raw_response.create(**asked(model))
        assert int(whole.headers[name]) > 0, whole.headers
        stream = create(**asked(model, stream=True))
        assert int(stream.response.headers[name]) > 0, stream.response.headers
        list(stream)


@check("5 x-request-id on success, stream and error: the run's id")
def _() -> None:
    for model in MODELS:
        completion = create(**asked(model))
        run = raw(f"/api/runs/{completion._request_id}", method="GET")
        assert run.status == 200, run
        stream = create(**asked(model, stream=True))
        assert stream.response.headers["x-request-id"]
        list(stream)
    error = failure(openai.BadRequestError, create, **asked(CHAT, "-refused"))
    assert error.request_id
    assert raw("/v1/nowhere", {}).headers["x-request-id"]
    assert raw("/v1/models", method="GET").headers["x-request-id"]


@check("costs are put to the prompt id and the labels of the headers")
def _() -> None:
    headers = {"X-Tallyrun-Prompt-Id": "rivers", "X-Tallyrun-Labels": "team=search,stage=test"}
    labelled = OpenAI(base_url=f"{URL}/v1", api_key=TOKEN, default_headers=headers, max_retries=0)
    ask: Any = labelled.chat.completions.create
    run = raw(f"/api/runs/{ask(**asked(CHAT))._request_id}", method="GET").body["data"]
    assert (run["promptId"], run["labels"]) == ("rivers", {"team": "search", "stage": "test"})


@check("6 usage comes once, last, with no choices; every other chunk says null; without asking there is none")
def _() -> None:
    for model in MODELS:
        body = asked(model, stream=True)
        whole = create(**{**body, "stream": False})
        counted = raw(COMPLETIONS, {**body, "stream_options": {"include_usage": True}})
        assert counted.events.pop() == (None, "[DONE]")
        chunks = list(create(**{**body, "stream_options": {"include_usage": True}}))
        assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
        assert all(chunk.usage is None and chunk.choices for chunk in chunks[:-1])
        assert counted.content.count(b'"usage":null') == len(chunks) - 1
        assert b'"usage"' not in raw(COMPLETIONS, body).content
        assert received().get("stream_options") == (None if "claude" in model else {"include_usage": True})


@check("7 every tool-call delta has its index; the client puts the calls together")
def _() -> None:
    for model in MODELS:
        body = asked(model, " weather clock", tools=[WEATHER, CLOCK], tool_choice="required")
        whole = create(**body)
        wanted = [
            (call.id, call.function.name, call.function.arguments) for call in whole.choices[0].message.tool_calls
        ]
        assert [name for _, name, _ in wanted] == ["weather", "clock"]
        with client.chat.completions.stream(**body) as stream:
            got: Any = stream.get_final_completion().choices[0]
        assert got.finish_reason == whole.choices[0].finish_reason == "tool_calls"
        assert [call.id for call in got.message.tool_calls] == [call_id for call_id, _, _ in wanted]
        told = [json.loads(call.function.arguments) for call in got.message.tool_calls]
        assert told == [json.loads(arguments) for _, _, arguments in wanted]
        answer = raw(COMPLETIONS, {**body, "stream": True})
        for _, data in answer.events[:-1]:
            for choice in json.loads(data)["choices"]:
                assert all(isinstance(call["index"], int) for call in choice["delta"].get("tool_calls") or [])


@check("8 what fails before the first byte of a stream has its own status")
def _() -> None:
    for model in MODELS:
        failure(openai.BadRequestError, heard, model, "-refused")
    failure(openai.NotFoundError, heard, "openai/missing")
    answer = raw(COMPLETIONS, asked(CHAT, "-refused", stream=True))
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    in_shape(answer.body)


@check("9 a later failure is an event with an error object, and the client raises it with its message")
def _() -> None:
    for model in MODELS:
        error = failure(openai.APIError, heard, model, "-error")
        assert "broke its answer off" in error.message, error.message
        answer = raw(COMPLETIONS, asked(model, "-error", stream=True))
        assert answer.status == 200
        in_shape(json.loads(answer.events[-1][1]))
        assert "[DONE]" not in answer.content.decode()


@check("10 nothing is cut silently: a connection that is lost, and a stream that just ends, are errors")
def _() -> None:
    for model in (CHAT, CLAUDE):
        for words in ("-cut", "-end"):
            failure(openai.APIError, heard, model, words)


@check("11 a silence is filled with comments, which the client ignores")
def _() -> None:
    for model in (CHAT, CLAUDE):
        answer = raw(COMPLETIONS, asked(model, "-slow", stream=True))
        assert answer.content.startswith(b": keep-alive\n\n")
        assert heard(model, "-slow")[-1].choices[0].finish_reason == "stop"


@check("12 models: a list in its envelope, and each one by its name")
def _() -> None:
    listed = client.models.list()
    assert listed.object == "list"
    names = {model.id for model in listed}
    assert {CHAT, CLAUDE} <= names
    for name in MODELS:
        assert client.models.retrieve(name).id == name
    failure(openai.NotFoundError, client.models.retrieve, "nothing")


@check("a streamed answer is the one that is not streamed")
def _() -> None:
    variants: list[dict[str, Any]] = [{}, {"max_tokens": 5}, {"stop": ["three"]}, {"n": 3}]
    for model in MODELS:
        for fields in variants if model == CHAT else variants[:-1]:
            body = asked(model, **fields)
            whole = create(**body)
            chunks = list(create(**body, stream=True, stream_options={"include_usage": True}))
            assert chunks[-1].usage == whole.usage
            for had in whole.choices:
                mine = [choice for chunk in chunks for choice in chunk.choices if choice.index == had.index]
                assert "".join(choice.delta.content or "" for choice in mine) == had.message.content != ""
                assert [choice.finish_reason for choice in mine if choice.finish_reason] == [had.finish_reason]
    with client.chat.completions.stream(**asked(CHAT)) as stream:
        assert stream.get_final_completion().choices[0].message.content


@check("text, system, images and a whole conversation with tools reach the provider")
def _() -> None:
    url, inline = "https://example.com/cat.png", "data:image/png;base64,aGVsbG8="
    for model in (CHAT, CLAUDE):
        images = [{"type": "image_url", "image_url": {"url": each}} for each in (url, inline)]
        talk: list[Any] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": fresh(" weather")}, *images]},
        ]
        first = create(model=model, messages=talk, tools=[WEATHER], tool_choice="required").choices[0].message
        result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "rain"}
        second = create(model=model, messages=[*talk, first, result], tools=[WEATHER]).choices[0]
        assert (second.finish_reason, bool(second.message.content)) == ("stop", True)
        said = str(received())
        assert all(part in said for part in ("Be brief.", url, "aGVsbG8=", "rain", first.tool_calls[0].id))


@check("an Idempotency-Key names one run, streamed or not, and another body is refused")
def _() -> None:
    for model in (CHAT, CLAUDE):
        for stream in (False, True):
            body = asked(model, stream=stream)
            key = {"Idempotency-Key": fresh()}
            before = calls()
            texts, ids = [], []
            for _ in range(2):
                answer = client.chat.completions.with_raw_response.create(**body, extra_headers=key)
                ids.append(answer.headers["x-request-id"])
                said = answer.parse()
                if stream:
                    texts.append("".join(c.choices[0].delta.content or "" for c in said if c.choices))
                else:
                    texts.append(said.choices[0].message.content)
            assert calls() - before == 1
            assert texts[0] == texts[1] != ""
            assert ids[0] == ids[1]
            assert answer.headers["idempotent-replayed"] == "true"
            failure(openai.ConflictError, create, **{**body, "user": "u"}, extra_headers=key)


@check("the asynchronous client, and embeddings, which are not offered")
def _() -> None:
    async def together() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=TOKEN, max_retries=0) as many:
            ask: Any = many.chat.completions.create
            return await asyncio.gather(*(ask(**asked(model)) for model in MODELS * 5))

    assert all(completion.choices[0].message.content for completion in asyncio.run(together()))
    failure(openai.NotFoundError, client.embeddings.create, model=CHAT, input="x")


if __name__ == "__main__":
    print(openai.__version__, flush=True)
    run_all()
