"""A provider's stream events as the chunks of a chat completion."""

from collections.abc import Iterator
from typing import Any

from common.providers import Wire
from gateway.translate.from_message import chat_usage, finish_reason

Body = dict[str, Any]


class ChatChunks:
    """Makes the chunks of one answer. `usage`: the caller asked for it; `created` in Unix seconds."""

    def __init__(self, wire: Wire, created: int, *, usage: bool) -> None:
        self._chunks = _Verbatim() if wire == "openai" else _FromMessage(created)
        self._usage = usage

    def chunks(self, event: Body) -> Iterator[Body]:
        """Yield what the event becomes. Usage is held back: it comes once, last, and only to who asked for it."""
        for chunk in self._chunks.chunks(event):
            yield self._without_usage(chunk)

    def last(self) -> Iterator[Body]:
        """Yield what comes after the last event."""
        if self._usage and self._chunks.usage is not None:
            yield {**self._chunks.shared, "choices": [], "usage": self._chunks.usage}

    def whole(self, completion: Body) -> Iterator[Body]:
        """Yield an answer that came in one piece."""
        self._chunks.usage = completion.get("usage")
        self._chunks.shared = shared = {
            **{name: value for name, value in completion.items() if name not in {"choices", "usage"}},
            "object": "chat.completion.chunk",
        }
        for choice in completion["choices"]:
            said = {"delta": _delta(choice["message"]), "logprobs": choice.get("logprobs"), "finish_reason": None}
            ended = {"delta": {}, "logprobs": None, "finish_reason": choice.get("finish_reason")}
            for part in (said, ended):
                yield self._without_usage({**shared, "choices": [{"index": choice["index"], **part}]})

    def _without_usage(self, chunk: Body) -> Body:
        if self._usage:
            return {**chunk, "usage": None}
        chunk.pop("usage", None)
        return chunk


def _delta(message: Body) -> Body:
    calls = [{"index": index, **call} for index, call in enumerate(message.get("tool_calls") or [])]
    return {**message, "tool_calls": calls} if calls else message


class _Verbatim:
    """Chunks of a provider that speaks chat: its own, but for what clients trip over."""

    def __init__(self) -> None:
        self.usage: Body | None = None
        self.shared: Body = {}

    def chunks(self, event: Body) -> Iterator[Body]:
        """Yield the chunk, unless it was there for its usage alone."""
        if usage := event.get("usage"):
            self.usage = usage
            self.shared = {name: value for name, value in event.items() if name not in {"choices", "usage"}}
        if event.get("choices") or not usage:
            for choice in event.get("choices") or ():
                _number_calls(choice.get("delta") or {})
            yield event


def _number_calls(delta: Body) -> None:
    """Some servers leave the `index` out, without which the official client raises `TypeError`."""
    for place, call in enumerate(delta.get("tool_calls") or ()):
        call.setdefault("index", place)


class _FromMessage:
    """Chunks of Anthropic's events."""

    def __init__(self, created: int) -> None:
        self.usage: Body | None = None
        self.shared: Body = {"object": "chat.completion.chunk", "created": created}
        self._counts: Body = {}
        self._calls: dict[int, int] = {}
        self._silent: set[int] = set()

    def chunks(self, event: Body) -> Iterator[Body]:
        """Yield what the event becomes: nothing, for those that have no counterpart."""
        match event.get("type"):
            case "message_start":
                yield self._begin(event["message"])
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                yield self._call(event["index"], event["content_block"])
            case "content_block_delta":
                yield from self._continue(event["index"], event["delta"])
            case "content_block_stop" if event["index"] in self._silent:
                yield self._arguments(event["index"], "{}")
            case "message_delta":
                self._count(event.get("usage") or {})
                yield self._chunk({}, finish_reason(event["delta"]))

    def _begin(self, message: Body) -> Body:
        self.shared = {"id": message["id"], **self.shared, "model": message["model"]}
        self._count(message.get("usage") or {})
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _count(self, usage: Body) -> None:
        self._counts.update({name: value for name, value in usage.items() if value is not None})
        self.usage = chat_usage(self._counts)

    def _call(self, block: int, tool: Body) -> Body:
        number = self._calls[block] = len(self._calls)
        self._silent.add(block)
        function = {"name": tool["name"], "arguments": ""}
        return self._chunk(
            {"tool_calls": [{"index": number, "id": tool["id"], "type": "function", "function": function}]}
        )

    def _continue(self, block: int, delta: Body) -> Iterator[Body]:
        if delta["type"] == "text_delta":
            yield self._chunk({"content": delta["text"]})
        elif delta["type"] == "input_json_delta" and delta["partial_json"] and block in self._calls:
            yield self._arguments(block, delta["partial_json"])

    def _arguments(self, block: int, text: str) -> Body:
        self._silent.discard(block)
        return self._chunk({"tool_calls": [{"index": self._calls[block], "function": {"arguments": text}}]})

    def _chunk(self, delta: Body, finish: str | None = None) -> Body:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self.shared, "choices": [choice]}
