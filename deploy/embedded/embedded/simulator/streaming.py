"""The same answers in events, as the real providers stream them: put together they are the answer in one piece."""

import re
from collections.abc import Iterator
from typing import Any

import orjson

Json = dict[str, Any]

_PIECE = re.compile(r"\s*\S+|\s+$")


def chat_events(body: Json, *, usage: bool) -> Iterator[bytes]:
    """Yield a chat completion as server-sent events; `usage` as `stream_options.include_usage` asks."""
    shared = {**{k: v for k, v in body.items() if k not in {"choices", "usage"}}, "object": "chat.completion.chunk"}
    unknown = {"usage": None} if usage else {}
    for choice in body["choices"]:
        for delta, finish in _chat_deltas(choice):
            changed = {"index": choice["index"], "delta": delta, "logprobs": None, "finish_reason": finish}
            yield _data({**shared, "choices": [changed], **unknown})
    if usage:
        yield _data({**shared, "choices": [], "usage": body["usage"]})
    yield b"data: [DONE]\n\n"


def _chat_deltas(choice: Json) -> Iterator[tuple[Json, str | None]]:
    message = choice["message"]
    yield {"role": "assistant", "content": None if message["content"] is None else "", "refusal": None}, None
    for piece in _PIECE.findall(message["content"] or ""):
        yield {"content": piece}, None
    for index, call in enumerate(message.get("tool_calls") or []):
        function = call["function"]
        yield {"tool_calls": [{**call, "index": index, "function": {**function, "arguments": ""}}]}, None
        for piece in _PIECE.findall(function["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, None
    yield {}, choice["finish_reason"]


def message_events(body: Json) -> Iterator[bytes]:
    """Yield a message as server-sent events.

    https://docs.anthropic.com/en/docs/build-with-claude/streaming
    """
    begun = {**body, "content": [], "stop_reason": None, "stop_sequence": None}
    yield _event("message_start", message={**begun, "usage": {**body["usage"], "output_tokens": 1}})
    for index, block in enumerate(body["content"]):
        yield from _block_events(index, block)
        if index == 0:
            yield _event("ping")
    ended = {"stop_reason": body["stop_reason"], "stop_sequence": body["stop_sequence"]}
    yield _event("message_delta", delta=ended, usage={"output_tokens": body["usage"]["output_tokens"]})
    yield _event("message_stop")


def _block_events(index: int, block: Json) -> Iterator[bytes]:
    empty: Json = {"text": ""} if block["type"] == "text" else {"input": {}}
    yield _event("content_block_start", index=index, content_block={**block, **empty})
    for delta in _message_deltas(block):
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _message_deltas(block: Json) -> Iterator[Json]:
    if block["type"] == "text":
        yield from ({"type": "text_delta", "text": piece} for piece in _PIECE.findall(block["text"]))
    else:
        written = orjson.dumps(block["input"]).decode() if block["input"] else ""
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in ["", *_PIECE.findall(written)])


def error_event(body: Json, *, anthropic: bool) -> bytes:
    """Return an error as it comes in the middle of a stream."""
    return (b"event: error\n" if anthropic else b"") + _data(body)


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\n%b" % (kind.encode(), _data({"type": kind, **fields}))


def _data(fields: Json) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(fields)
