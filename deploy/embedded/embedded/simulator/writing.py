"""The simulated model itself: a text and honest token counts, both derived from the prompt alone."""

from dataclasses import dataclass
from typing import Any

from embedded.simulator.prompt import CHARACTERS_PER_TOKEN, Call, tokens

SHORTEST, LONGEST = 8, 40
"""Words of an answer."""

REASONING_MODELS = ("o1", "o3", "o4", "gpt-5", "gpt-6")


@dataclass(frozen=True)
class Written:
    """An answer. `prompt_tokens` includes `cached` and `cache_writes`; `output_tokens` includes `reasoning`."""

    text: str
    cut: bool
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
    text, cut = _text(call, chance)
    asked, said = max(1, tokens(call.text)), max(1, tokens(text))
    reasoning = said if call.path == "chat" and call.model.startswith(REASONING_MODELS) else 0
    return Written(
        text=text,
        cut=cut,
        prompt_tokens=asked,
        cached=asked // 2 if chance % 4 == 0 else 0,
        cache_writes=asked // 4 if chance % 4 == 1 and call.path == "messages" else 0,
        output_tokens=said + reasoning,
        reasoning=reasoning,
    )


def _text(call: Call, chance: int) -> tuple[str, bool]:
    length = SHORTEST + chance // 4 % (LONGEST - SHORTEST + 1)
    words = call.text.split() or ["nothing"]
    text = f"Simulated answer {call.digest[:6]}: " + " ".join(words[place % len(words)] for place in range(length))
    limit = _limit(call.body)
    return (text, False) if limit is None or tokens(text) <= limit else (text[: limit * CHARACTERS_PER_TOKEN], True)


def _limit(body: Any) -> int | None:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return limit if isinstance(limit, int) and limit > 0 else None
