"""Tools, and which of them is to be used."""

from typing import Any

from gateway.translate.fields import Fields, given, items

Body = dict[str, Any]

NO_ARGUMENTS: Body = {"type": "object", "properties": {}}
"""What a function without `parameters` takes; Anthropic requires that it be said."""

CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def tools(fields: Fields) -> list[Body] | None:
    """Return the tools in Anthropic's words."""
    return [_tool(Fields(tool, path)) for tool, path in items(fields.take("tools", list), "tools")] or None


def _tool(tool: Fields) -> Body:
    if (kind := tool.need("type", str)) != "function":
        raise tool.unsupported("type", f"a tool of type '{kind[:64]}' has no counterpart")
    function = Fields(tool.need("function", dict), tool.name("function"))
    translated = given(
        name=function.need("name", str),
        description=function.take("description", str),
        input_schema=function.take("parameters", dict) or NO_ARGUMENTS,
        strict=function.take("strict", bool),
        cache_control=tool.take("cache_control", dict),
    )
    for part in (function, tool):
        part.finish()
    return translated


def tool_choice(fields: Fields) -> Body | None:
    """Return which tool is to be used, and whether several at once may be."""
    choice, parallel = fields.raw("tool_choice"), fields.take("parallel_tool_calls", bool)
    chosen = None if choice is None else _choice(fields, choice)
    if parallel is not False or (chosen or {}).get("type") == "none":
        return chosen
    return {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}


def _choice(fields: Fields, choice: Any) -> Body:
    if isinstance(choice, str) and choice in CHOICES:
        return {"type": CHOICES[choice]}
    if not isinstance(choice, dict) or choice.get("type") != "function":
        raise fields.unsupported("tool_choice", "such a choice has no counterpart")
    named = Fields(choice, "tool_choice")
    named.raw("type")
    function = Fields(named.need("function", dict), "tool_choice.function")
    chosen = {"type": "tool", "name": function.need("name", str)}
    for part in (function, named):
        part.finish()
    return chosen
