"""Rows of usage, added up and made into figures."""

from collections.abc import Mapping
from typing import Any

from analytics.money import mean
from analytics.sums import Sums, percent, zeros
from common.contracts.usage_v1 import Figures

TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
OUTCOMES = ("rated", "good_outcomes", "bad_outcomes", "scored")
WAITING = ("in_flight", "lost")

NOTHING = zeros(
    (
        *("runs", "executions", "succeeded", "failed", "unpriced", "repeated_unpriced", "latency_ms"),
        *(*TOKENS, *OUTCOMES, *WAITING),
    ),
    ("cost", "repeated_cost", "cache_savings", "score"),
)


def figures(sums: Sums) -> Figures:
    """Return the sums with their means."""
    return Figures(**named(sums))


def named(sums: Sums) -> dict[str, Any]:
    """Return the fields of `Figures`."""
    runs, succeeded = sums["runs"], sums["succeeded"]
    same = ("runs", "succeeded", "failed", "cost", "repeated_cost", "cache_savings")
    return {
        **{name: sums[name] for name in (*same, *TOKENS)},
        **rated(sums),
        "success_rate": percent(succeeded, runs),
        "avg_cost": mean(sums["cost"], runs) if runs else None,
        "unpriced_runs": sums["unpriced"],
        "repeated_executions": sums["executions"] - runs,
        "unpriced_repeats": sums["repeated_unpriced"],
        "total_tokens": sums["input_tokens"] + sums["output_tokens"],
        "avg_latency": sums["latency_ms"] / succeeded if succeeded else None,
    }


def rated(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Rated`."""
    good, bad, scored = sums["good_outcomes"], sums["bad_outcomes"], sums["scored"]
    return {
        "rated": sums["rated"],
        "good_outcomes": good,
        "bad_outcomes": bad,
        "outcome_rate": percent(good, good + bad),
        "score": mean(sums["score"], scored) if scored else None,
    }
