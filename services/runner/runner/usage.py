"""What a response says was used: the tokens, and whatever else decides the bill."""

from collections.abc import Mapping
from typing import Any

from common.contracts.runs_v1 import PriceContext, Usage

MAX_TOKENS = 2**40
"""As in the contract: a count above it is no count."""


def openai_usage(response: Mapping[str, Any]) -> tuple[Usage | None, PriceContext]:
    """Read a chat completion. `prompt_tokens` includes cached tokens already. No usage is None, never zero."""
    reported = _mapping(response, "usage")
    into, out = _count(reported, "prompt_tokens"), _count(reported, "completion_tokens")
    if into is None or out is None:
        return None, PriceContext()
    prompt, completion = _mapping(reported, "prompt_tokens_details"), _mapping(reported, "completion_tokens_details")
    reasoning = _part(completion, "reasoning_tokens")
    usage = Usage(
        input=into,
        output=out + (reasoning if _reasoning_is_apart(reported, into, out, reasoning) else 0),
        cached=_part(prompt, "cached_tokens"),
        cache_writes=_part(prompt, "cache_write_tokens"),
        reasoning=reasoning,
    )
    audio = PriceContext(input_audio=_part(prompt, "audio_tokens"), output_audio=_part(completion, "audio_tokens"))
    return usage, audio


def _reasoning_is_apart(reported: Mapping[str, Any], into: int, out: int, reasoning: int) -> bool:
    """Whether reasoning is billed on top of `completion_tokens` (xAI), as the total then shows."""
    return reasoning > 0 and _count(reported, "total_tokens") == into + out + reasoning


def anthropic_usage(response: Mapping[str, Any]) -> tuple[Usage | None, PriceContext]:
    """Read a message. `input_tokens` excludes cache reads and writes, which ours includes. No usage is None."""
    reported = _mapping(response, "usage")
    fresh, out = _count(reported, "input_tokens"), _count(reported, "output_tokens")
    if fresh is None or out is None:
        return None, PriceContext()
    cached, writes = _part(reported, "cache_read_input_tokens"), _part(reported, "cache_creation_input_tokens")
    usage = Usage(
        input=fresh + cached + writes,
        output=out,
        cached=cached,
        cache_writes=writes,
        reasoning=_part(_mapping(reported, "output_tokens_details"), "thinking_tokens"),
    )
    return usage, _anthropic_context(reported)


def _anthropic_context(reported: Mapping[str, Any]) -> PriceContext:
    return PriceContext(
        cache_writes_1h=_part(_mapping(reported, "cache_creation"), "ephemeral_1h_input_tokens"),
        web_searches=_part(_mapping(reported, "server_tool_use"), "web_search_requests"),
        speed=text(reported, "speed"),
        inference_geo=text(reported, "inference_geo"),
    )


def text(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a field that is text, or None."""
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _part(fields: Mapping[str, Any], name: str) -> int:
    return _count(fields, name) or 0
