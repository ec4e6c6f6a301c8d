"""Which tools the simulated model calls, and with what."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from embedded.simulator.prompt import Call

Json = Mapping[str, Any]


class ToolCall(NamedTuple):
    """A tool that the model wants called."""

    name: str
    arguments: dict[str, Any]


def tool_calls(call: Call) -> list[ToolCall]:
    """Return calls of the tools whose names the prompt contains, of the first tool if it contains none.

    None where no tool is offered, the choice is `none`, or the last message brings a tool's result.
    """
    choice = _choice(call.body)
    if choice == "none" or _has_result(call.body):
        return []
    offered = list(_offered(call.body))
    named = [tool for tool in offered if tool[0] in (call.text if choice is None else choice)] or offered[:1]
    wanted = named[:1] if _one_at_a_time(call.body) else named
    return [ToolCall(name, _arguments(schema, call)) for name, schema in wanted]


def written(wanted: ToolCall) -> str:
    """Return the arguments as the model writes them."""
    return orjson.dumps(wanted.arguments).decode()


def _offered(body: Json) -> Iterator[tuple[str, Json]]:
    for tool in body.get("tools") or []:
        described = tool.get("function", tool)
        yield described["name"], described.get("parameters") or described.get("input_schema") or {}


def _choice(body: Json) -> str | None:
    """Return "none", the name of the tool that must be called, or None."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return "none" if choice == "none" else None
    if choice.get("type") == "none":
        return "none"
    name = choice.get("name") or choice.get("function", {}).get("name")
    return str(name) if name else None


def _one_at_a_time(body: Json) -> bool:
    choice = body.get("tool_choice")
    apart = isinstance(choice, dict) and choice.get("disable_parallel_tool_use")
    return bool(apart) or body.get("parallel_tool_calls") is False


def _has_result(body: Json) -> bool:
    last = (body.get("messages") or [{}])[-1]
    content = last.get("content")
    parts = content if isinstance(content, list) else []
    return last.get("role") == "tool" or any(part.get("type") == "tool_result" for part in parts)


def _arguments(schema: Json, call: Call) -> dict[str, Any]:
    values = {"integer": 7, "number": 1.5, "boolean": True, "array": [], "object": {}}
    properties: Json = schema.get("properties") or {}
    return {
        name: values.get(str(described.get("type")), f"łódź {call.digest[:6]}")
        for name, described in properties.items()
    }
