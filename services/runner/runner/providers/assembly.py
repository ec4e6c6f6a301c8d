"""What a stream's events add up to, in either wire format: the body of the same answer in one piece."""

from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

Json = dict[str, Any]

SAID_ONCE = {"role", "id", "type", "name", "index"}
"""Fields of a delta that are not continued but named; some servers name them again and again."""


class Pieces(list[str]):
    """A text that is still being written: adding to a string would copy it each time."""


class ChatAssembly:
    """Chunks of a chat completion."""

    def __init__(self) -> None:
        self.done = False
        self._top: Json = {}
        self._choices: dict[int, Json] = {}

    def add(self, event: Json) -> None:
        """Take a chunk in."""
        for choice in event.pop("choices", None) or ():
            self._add_choice(choice)
        self._top.update({name: value for name, value in event.items() if value is not None})
        self.done = bool(self._choices) and all(choice["finish_reason"] for choice in self._choices.values())

    def end(self) -> None:
        """Note that the provider says it has ended."""
        self.done = bool(self._choices)

    def whole(self) -> Json:
        """Return the chat completion."""
        self._top.pop("obfuscation", None)  # padding against those who measure events on the way
        choices = [_choice(index, self._choices[index]) for index in sorted(self._choices)]
        return {**self._top, "object": "chat.completion", "choices": choices}

    def _add_choice(self, choice: Json) -> None:
        known = self._choices.setdefault(choice.get("index", 0), {"delta": {}})
        known["delta"] = merged(known["delta"], choice.get("delta") or {})
        known["logprobs"] = merged(known.get("logprobs"), choice.get("logprobs"))
        known["finish_reason"] = choice.get("finish_reason") or known.get("finish_reason")


def _choice(index: int, known: Json) -> Json:
    message = {"role": "assistant", "content": None, "refusal": None, **joined(known["delta"])}
    for call in message.get("tool_calls") or ():
        call.pop("index", None)
    return {
        "index": index,
        "message": message,
        "logprobs": joined(known.get("logprobs")),
        "finish_reason": known.get("finish_reason"),
    }


def merged(known: Any, delta: Any) -> Any:
    """Return what was known, continued by a delta of the same field."""
    match known, delta:
        case _, None:
            return known
        case Pieces(), str():
            known.append(delta)
            return known
        case None, str():
            return Pieces([delta])
        case None | dict(), dict():
            return _merged_fields({} if known is None else known, delta)
        case None | list(), list():
            return _merged_items([] if known is None else known, delta)
    return delta


def _merged_fields(known: Json, delta: Json) -> Json:
    for name, value in delta.items():
        if name not in SAID_ONCE:
            known[name] = merged(known.get(name), value)
        elif value or name not in known:
            known[name] = value
    return known


def _merged_items(known: list[Any], delta: list[Any]) -> list[Any]:
    """Continue the items that have the same `index`, and add the others."""
    for item in delta:
        index = item.get("index") if isinstance(item, dict) else None
        same = next((had for had in known if index is not None and had.get("index") == index), None)
        if same is None:
            known.append(merged({}, item) if index is not None else item)
        else:
            _merged_fields(same, item)
    return known


def joined(value: Any) -> Any:
    """Return the value with every text in one piece."""
    if isinstance(value, Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {name: joined(field) for name, field in value.items()}
    return [joined(item) for item in value] if isinstance(value, list) else value


class MessageAssembly:
    """Events of a message."""

    def __init__(self) -> None:
        self.done = False
        self._message: Json = {}
        self._blocks: dict[int, Json] = {}
        self._inputs: dict[int, Pieces] = {}

    def add(self, event: Json) -> None:
        """Take an event in; one of a kind that is not known adds nothing."""
        match event.get("type"):
            case "message_start":
                self._message = event["message"]
            case "content_block_start":
                self._blocks[event["index"]] = _begun(event["content_block"])
            case "content_block_delta":
                self._continue(event["index"], event["delta"])
            case "message_delta":
                self._message.update(event["delta"])
                _update_counts(self._message, event.get("usage") or {})
            case "message_stop":
                self.done = bool(self._message)

    def end(self) -> None:
        """Its last event says so already."""

    def whole(self) -> Json:
        """Return the message."""
        for index, written in self._inputs.items():
            # Cut at the token limit, the text ends anywhere.
            self._blocks[index]["input"] = from_json("".join(written) or "{}", allow_partial=True)
        content = [joined(self._blocks[index]) for index in sorted(self._blocks)]
        return {**self._message, "content": content}

    def _continue(self, index: int, delta: Json) -> None:
        match delta.get("type"):
            case "input_json_delta":
                self._inputs.setdefault(index, Pieces()).append(delta["partial_json"])
            case "citations_delta":
                self._blocks[index]["citations"] = [*(self._blocks[index].get("citations") or []), delta["citation"]]
            case _:
                self._blocks[index] = merged(self._blocks[index], _fields(delta))


def _fields(delta: Json) -> Json:
    return {name: value for name, value in delta.items() if name != "type"}


def _begun(block: Json) -> Json:
    """Return a block whose texts may be continued."""
    continued: Iterable[str] = ("text", "thinking", "signature")
    return {**block, **{name: Pieces([block[name]]) for name in continued if name in block}}


def _update_counts(message: Json, usage: Json) -> None:
    """The last event's counts are those of the whole message; it leaves out what has not changed."""
    message["usage"] = {**(message.get("usage") or {}), **{k: v for k, v in usage.items() if v is not None}}
