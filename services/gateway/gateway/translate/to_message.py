"""A chat completion's body as Anthropic's messages take it."""

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from common.errors import InvalidRequest
from gateway.prompts import ANTHROPIC_MAX_TOKENS
from gateway.translate.content import blocks, text_blocks
from gateway.translate.fields import Fields, given, items
from gateway.translate.tools import tool_choice, tools

Body = dict[str, Any]
Turn = tuple[str, list[Body]]

SYSTEM = ("system", "developer")
WARMEST = 1.0
"""Anthropic's temperatures end here, OpenAI's at 2: https://docs.anthropic.com/en/api/messages"""


def message_request(body: Body, model: str) -> Body:
    """Return the body of `POST /v1/messages`; raise `InvalidRequest` or `Unsupported`, which name the field."""
    fields = Fields(body)
    fields.raw("model")
    system, turns = _conversation(fields)
    message = given(
        model=model,
        max_tokens=_limit(fields),
        messages=[{"role": role, "content": content} for role, content in turns],
        system=system or None,
        temperature=_temperature(fields),
        top_p=fields.number("top_p"),
        stop_sequences=_stops(fields),
        tools=tools(fields),
        tool_choice=tool_choice(fields),
        metadata=_metadata(fields),
        stream=fields.take("stream", bool) or None,
    )
    _drop_what_is_done_anyway(fields)
    fields.finish()
    return message


def _drop_what_is_done_anyway(fields: Fields) -> None:
    fields.raw("stream_options")  # of the surface, not of the provider
    fields.neutral(1, field="n")
    fields.neutral(0, field="frequency_penalty")
    fields.neutral(0, field="presence_penalty")
    fields.neutral({"type": "text"}, field="response_format")
    fields.neutral(["text"], field="modalities")
    fields.neutral("auto", field="service_tier")


def _limit(fields: Fields) -> int:
    newer, older = fields.take("max_completion_tokens", int), fields.take("max_tokens", int)
    if newer is not None and older is not None and newer != older:
        message = "max_tokens: it differs from max_completion_tokens; give one of them"
        raise InvalidRequest(message, param="max_tokens")
    limit = older if newer is None else newer
    return ANTHROPIC_MAX_TOKENS if limit is None else limit


def _temperature(fields: Fields) -> float | None:
    temperature = fields.number("temperature")
    if temperature is not None and temperature > WARMEST:
        raise fields.unsupported("temperature", f"nothing above {WARMEST:g}")
    return temperature


def _stops(fields: Fields) -> list[str] | None:
    stop = fields.raw("stop")
    if stop is None:
        return None
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise InvalidRequest("stop: it must be a string or an array of strings", param="stop")
    return stops or None


def _metadata(fields: Fields) -> Body | None:
    user = fields.take("user", str)
    return {"user_id": user} if user else None


def _conversation(fields: Fields) -> tuple[list[Body], list[Turn]]:
    """Return the system blocks, and the turns: neighbours of one role are one turn, as tool results must be."""
    system: list[Body] = []
    turns: list[Turn] = []
    for message, path in items(fields.need("messages", list), "messages"):
        said = Fields(message, path)
        role = said.need("role", str)
        if role in SYSTEM and not turns:
            system.extend(text_blocks(said, "content"))
        else:
            _append(turns, *_turn(said, role))
        said.finish()
    return system, turns


def _append(turns: list[Turn], role: str, content: list[Body]) -> None:
    if turns and turns[-1][0] == role:
        turns[-1][1].extend(content)
    else:
        turns.append((role, content))


def _turn(said: Fields, role: str) -> Turn:
    match role:
        case "user":
            return "user", blocks(said, "content")
        case "assistant":
            return "assistant", [*text_blocks(said, "content"), *_tool_uses(said)]
        case "tool":
            return "user", [_tool_result(said)]
        case "system" | "developer":
            raise said.unsupported("role", "instructions after the conversation has begun have no place")
    raise said.unsupported("role", f"the role '{role[:64]}' has no counterpart")


def _tool_uses(said: Fields) -> Iterator[Body]:
    for call, path in items(said.take("tool_calls", list), said.name("tool_calls")):
        fields = Fields(call, path)
        fields.neutral("function", field="type")
        function = Fields(fields.need("function", dict), fields.name("function"))
        name, arguments = function.need("name", str), function.need("arguments", str)
        yield {
            "type": "tool_use",
            "id": fields.need("id", str),
            "name": name,
            "input": _arguments(arguments, function.name("arguments")),
        }
        fields.raw("index")
        for part in (function, fields):
            part.finish()


def _arguments(text: str, path: str) -> Body:
    try:
        arguments = from_json(text or "{}", allow_inf_nan=False)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"{path}: it must be a JSON object, written as a string", param=path)
    return arguments


def _tool_result(said: Fields) -> Body:
    call_id = said.need("tool_call_id", str)
    return {"type": "tool_result", "tool_use_id": call_id, "content": text_blocks(said, "content")}
