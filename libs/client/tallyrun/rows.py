"""What a row may say, and how it reads as one of OpenAI's batch lines."""

import json
from collections.abc import Mapping
from typing import Any

from tallyrun.lines import Line

URL = "/v1/chat/completions"
IDS, PROMPTS = ("custom_id", "id"), ("prompt", "input")
FIELDS = frozenset(
    {
        *("model", "messages", "audio", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens"),
        *("max_tokens", "metadata", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty"),
        *("prompt_cache_key", "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier"),
        *("stop", "store", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity"),
        *("web_search_options",),
    }
)
"""What a simple row may say beside its prompt: the fields of OpenAI's chat completions that make sense in a batch
(https://platform.openai.com/docs/api-reference/chat/create). Whoever needs another one writes the whole batch line: so
no column of somebody's data goes to a provider by mistake."""


class Refused(ValueError):
    """This row cannot be sent; the message says why."""


def batch_line(line: Line, place: int, model: str | None) -> tuple[str, bytes]:
    """Return the row's custom_id and its batch line; raise `Refused`.

    `place`: the row's, counted from 1; it names a row that has no id. `model`: whether rows may leave theirs out.
    """
    if line.fault is not None:
        raise Refused(line.fault)
    row = {"prompt": line.row} if isinstance(line.row, str) else line.row
    if not isinstance(row, Mapping):
        raise Refused("it is no JSON object")
    whole = "body" in row
    request = _checked(row) if whole else _request(row, place)
    if not model and not request["body"].get("model"):
        raise Refused("it names no model, and none is given for rows without one")
    text = line.text if whole and line.text else json.dumps(request, ensure_ascii=False, separators=(",", ":"))
    try:
        return request["custom_id"], text.encode() + b"\n"
    except UnicodeEncodeError:
        raise Refused("it has half a character that is no Unicode") from None


def _checked(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a whole batch line, if it is one."""
    if not isinstance(row["body"], Mapping):
        raise Refused("its 'body' is no JSON object")
    if not isinstance(row.get("custom_id"), str) or not row["custom_id"]:
        raise Refused("it has a 'body' but no 'custom_id'")
    if row.get("method") != "POST" or not str(row.get("url", "")).startswith("/v1/"):
        raise Refused('it has a \'body\', so it needs "method": "POST" and a "url" like /v1/chat/completions')
    return row


def _request(row: Mapping[str, Any], place: int) -> Mapping[str, Any]:
    """Return a simple row as a batch line."""
    fields = {name: value for name, value in row.items() if name not in IDS + PROMPTS}
    if unknown := sorted(str(name) for name in fields.keys() - FIELDS):
        raise Refused(f"it has {', '.join(map(repr, unknown))}, which no chat completion has")
    body = {**fields, "messages": _messages(row)}
    return {"custom_id": _id(row, place), "method": "POST", "url": URL, "body": body}


def _messages(row: Mapping[str, Any]) -> list[Any]:
    given = [name for name in (*PROMPTS, "messages") if name in row]
    if len(given) != 1:
        raise Refused("it needs exactly one of 'prompt', 'input', 'messages', or a whole batch line's 'body'")
    value = row[given[0]]
    if given == ["messages"]:
        if not isinstance(value, list) or not value or not all(isinstance(message, Mapping) for message in value):
            raise Refused("its 'messages' are no list of objects")
        return value
    if not isinstance(value, str) or not value.strip():
        raise Refused(f"its {given[0]!r} is no text")
    return [{"role": "user", "content": value}]


def _id(row: Mapping[str, Any], place: int) -> str:
    named = next((row[name] for name in IDS if name in row), f"row-{place}")
    if isinstance(named, bool) or not isinstance(named, (str, int)) or not str(named):
        raise Refused("its id is neither text nor a whole number")
    return str(named)
