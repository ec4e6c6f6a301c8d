"""How long the limits that a provider reports with each answer forbid another call like it."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from runner.providers.answer import LONGEST_WAIT_SECONDS


class _Names(NamedTuple):
    """The headers of one limit, and whether it counts calls; otherwise it counts tokens."""

    limit: str
    remaining: str
    reset: str
    counts_calls: bool


def _names(pattern: str, *kinds: str) -> list[_Names]:
    def name(kind: str, part: str) -> str:
        return pattern.format(kind=kind, part=part)

    return [_Names(name(k, "limit"), name(k, "remaining"), name(k, "reset"), k == "requests") for k in kinds]


_HEADERS = (
    # https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
    *_names("x-ratelimit-{part}-{kind}", "requests", "tokens"),
    # https://docs.anthropic.com/en/api/rate-limits#response-headers
    *_names("anthropic-ratelimit-{kind}-{part}", "requests", "tokens", "input-tokens", "output-tokens"),
)

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNIT_SECONDS = (3600, 60, 1, 0.001)


class Allowance(NamedTuple):
    """One limit: what it is when full, what is left, and the seconds until it is full again."""

    limit: float
    remaining: float
    reset: float

    def wait(self, need: float) -> float:
        """Return the seconds until `need` is left: both providers refill their buckets steadily."""
        missing = min(need, self.limit) - self.remaining
        return self.reset * missing / (self.limit - self.remaining) if missing > 0 else 0.0


def wait_seconds(headers: Mapping[str, str], tokens: int) -> float:
    """Return the seconds until the provider admits another call of so many tokens; 0 where it says nothing."""
    return max((allowance.wait(need) for allowance, need in _allowances(headers, tokens)), default=0.0)


def limits_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what the provider says of its limits, in its own words."""
    names = (name for limit in _HEADERS for name in (limit.limit, limit.remaining, limit.reset))
    return {name: value for name in names if (value := headers.get(name)) is not None}


def _allowances(headers: Mapping[str, str], tokens: int) -> Iterator[tuple[Allowance, float]]:
    for names in _HEADERS:
        if (remaining := _number(headers.get(names.remaining))) is None:
            continue
        limit, reset = _number(headers.get(names.limit)), _seconds(headers.get(names.reset))
        if limit is not None and reset is not None:
            yield Allowance(limit, remaining, min(reset, LONGEST_WAIT_SECONDS)), 1 if names.counts_calls else tokens


def _number(value: str | None) -> float | None:
    return float(value) if value and value.isdecimal() else None


def _seconds(value: str | None) -> float | None:
    """Read OpenAI's "6m0s" and "20ms", or Anthropic's RFC 3339 time."""
    if value and (match := _DURATION.fullmatch(value)):
        return sum(float(part) * unit for part, unit in zip(match.groups("0"), _UNIT_SECONDS, strict=True))
    try:
        return max(0.0, (datetime.fromisoformat(value or "") - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
