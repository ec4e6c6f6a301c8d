"""The books of the demo: runs, tokens and cost by model, from the overview and from the runs' own answers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self


@dataclass(frozen=True)
class Sums:
    """One model's runs, tokens and US dollars (unpriced runs add nothing)."""

    runs: int = 0
    tokens: int = 0
    cost: Decimal = Decimal(0)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.runs + other.runs, self.tokens + other.tokens, self.cost + other.cost)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.runs - other.runs, self.tokens - other.tokens, self.cost - other.cost)


Books = dict[str, Sums]
"""Requested model → its sums."""


def counted(overview: Mapping[str, Any]) -> Books:
    """Return what the overview says."""
    rows = overview["modelBreakdown"]
    return {row["model"]: Sums(row["runs"], row["tokens"], Decimal(row["cost"])) for row in rows}


def written(answers: Iterable[tuple[str, Mapping[str, Any]]]) -> Books:
    """Add up what each run's answer said: pairs of requested model and answer."""
    books: defaultdict[str, Sums] = defaultdict(Sums)
    for model, answer in answers:
        books[model] += Sums(1, answer.get("totalTokens", 0), Decimal(answer.get("cost") or 0))
    return dict(books)


def since(before: Books, after: Books) -> Books:
    """Return what was added between two books; models without new runs are left out."""
    added = {model: sums - before.get(model, Sums()) for model, sums in after.items()}
    return {model: sums for model, sums in added.items() if sums != Sums()}
