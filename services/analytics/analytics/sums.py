"""Rows of usage added up, to the last digit."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import reduce
from typing import Any

from analytics.money import EXACT

Sums = dict[str, Any]


def zeros(counts: Iterable[str], amounts: Iterable[str]) -> Sums:
    """Return what nothing adds up to: whole numbers, and US dollars."""
    return {**dict.fromkeys(counts, 0), **dict.fromkeys(amounts, Decimal(0))}


def add(rows: Iterable[Mapping[str, Any]], nothing: Sums) -> Sums:
    """Return the sum of each column that `nothing` has."""
    return reduce(_plus, rows, nothing)


def percent(part: int | Decimal, whole: int | Decimal) -> float | None:
    """Return the share in percent, None of nothing."""
    return float(100 * part / whole) if whole else None


def _plus(one: Sums, other: Mapping[str, Any]) -> Sums:
    return {
        name: EXACT.add(of, other[name]) if isinstance(of, Decimal) else of + other[name] for name, of in one.items()
    }
