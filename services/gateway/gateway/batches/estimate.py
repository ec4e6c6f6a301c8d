"""How many tokens a request may take: a range, from its text alone. A provider's own count comes after the call."""

from dataclasses import dataclass
from typing import Any, Self

import orjson

BYTES_A_TOKEN = (3, 5)
"""UTF-8 bytes to a token: about 4 in English (https://help.openai.com/en/articles/4936856), 3 in Chinese or Japanese.
No tokenizer: each model has its own, and those that are published have to be downloaded."""

TOKENS_A_MESSAGE = 4
"""What surrounds each message: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken"""

TOKENS_AN_IMAGE = (85, 1600)
"""OpenAI's low detail, and about the largest that Anthropic takes without resizing:
https://platform.openai.com/docs/guides/images-vision, https://docs.anthropic.com/en/docs/build-with-claude/vision"""

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens")
IMAGES = ("image_url", "image")


@dataclass(frozen=True)
class Span:
    """A range, both ends included: of tokens, or of US dollars."""

    low: int
    high: int

    def __add__(self, other: Self) -> "Span":
        return Span(self.low + other.low, self.high + other.high)

    def capped(self, limit: int | None) -> "Span":
        """Return the range with nothing above the limit."""
        return self if limit is None else Span(min(self.low, limit), min(self.high, limit))

    def times(self, count: int) -> "Span":
        """Return the range of so many of these."""
        return Span(self.low * count, self.high * count)


def input_tokens(body: dict[str, Any]) -> Span:
    """Return the input tokens of a request in either wire format."""
    turns = body.get("messages")
    messages = turns if isinstance(turns, list) else []
    said = [body.get("system"), *(m.get("content") for m in messages if isinstance(m, dict))]
    surroundings = TOKENS_A_MESSAGE * (len(messages) + 1)
    return sum((_content(content) for content in said), Span(surroundings, surroundings) + _tools(body.get("tools")))


def output_limit(body: dict[str, Any]) -> int | None:
    """Return the output tokens that the request allows for each choice, None where it does not say."""
    stated = (body.get(name) for name in OUTPUT_LIMITS)
    return next((limit for limit in stated if isinstance(limit, int)), None)


def choices(body: dict[str, Any]) -> int:
    """Return how many answers the request asks for."""
    asked = body.get("n")
    return asked if isinstance(asked, int) and asked > 0 else 1


def _content(content: object) -> Span:
    """Content is text, or a list of parts of which some are images."""
    match content:
        case None:
            return Span(0, 0)
        case str():
            return _text(len(content.encode(errors="replace")))
        case list():
            return sum((_part(part) for part in content), Span(0, 0))
    return _text(len(orjson.dumps(content)))


def _part(part: object) -> Span:
    if isinstance(part, dict):
        if part.get("type") in IMAGES:
            return Span(*TOKENS_AN_IMAGE)
        if isinstance(part.get("text"), str):
            return _content(part["text"])
    return _text(len(orjson.dumps(part)))


def _tools(tools: object) -> Span:
    return _text(len(orjson.dumps(tools))) if tools else Span(0, 0)


def _text(size: int) -> Span:
    most, least = BYTES_A_TOKEN
    return Span(size // least, -(-size // most))
