"""The simulated model itself: a text and honest token counts, both derived from the prompt alone."""

from dataclasses import dataclass
from typing import Any

from embedded.simulator.prompt import CHARACTERS_PER_TOKEN, Call, images, tokens
from embedded.simulator.tools import ToolCall, tool_calls, written

SHORTEST, LONGEST = 8, 40
"""Words of an answer."""

IMAGE_TOKENS = 85
"""Of every image, whatever its size: https://platform.openai.com/docs/guides/images-vision (low detail)"""

REASONING_MODELS = ("o1", "o3", "o4", "gpt-5", "gpt-6")


@dataclass(frozen=True)
class Written:
    """An answer: text, or calls of tools. `stop` is the stop sequence that ended it.

    `prompt_tokens` includes `cached` and `cache_writes`; `output_tokens` includes `reasoning`.
    """

    text: str
    calls: list[ToolCall]
    cut: bool
    stop: str | None
    prompt_tokens: int
    cached: int
    cache_writes: int
    output_tokens: int
    reasoning: int


def write(call: Call) -> Written:
    """Answer with words of the prompt, counted by `tokens`.

    By the prompt's digest, one prompt in four reads half its input from the cache, and one in four writes a quarter of
    it there (where the wire tells of writes). A reasoning model thinks for as many tokens as it writes.
    """
    chance = int(call.digest, 16)
    calls = tool_calls(call)
    text, cut, stop = ("", False, None) if calls else _text(call, chance)
    asked = max(1, tokens(call.text) + IMAGE_TOKENS * len(images(call.body)))
    said = max(1, tokens(text) + sum(tokens(written(wanted)) for wanted in calls))
    reasoning = said if call.path == "chat" and call.model.startswith(REASONING_MODELS) else 0
    return Written(
        text=text,
        calls=calls,
        cut=cut,
        stop=stop,
        prompt_tokens=asked,
        cached=asked // 2 if chance % 4 == 0 else 0,
        cache_writes=asked // 4 if chance % 4 == 1 and call.path == "messages" else 0,
        output_tokens=said + reasoning,
        reasoning=reasoning,
    )


def _text(call: Call, chance: int) -> tuple[str, bool, str | None]:
    length = SHORTEST + chance // 4 % (LONGEST - SHORTEST + 1)
    words = call.text.split() or ["nothing"]
    text = f"Simulated answer {call.digest[:6]}: " + " ".join(words[place % len(words)] for place in range(length))
    text, stop = _stopped(text, call.body)
    limit = _limit(call.body)
    if limit is None or tokens(text) <= limit:
        return text, False, stop
    return text[: limit * CHARACTERS_PER_TOKEN], True, None


def _stopped(text: str, body: Any) -> tuple[str, str | None]:
    """Return the text up to the first stop sequence, and that."""
    asked = body.get("stop_sequences") or body.get("stop") or []
    found = [(text.index(stop), stop) for stop in ([asked] if isinstance(asked, str) else asked) if stop in text]
    return (text[: min(found)[0]], min(found)[1]) if found else (text, None)


def _limit(body: Any) -> int | None:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return limit if isinstance(limit, int) and limit > 0 else None
