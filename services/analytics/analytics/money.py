"""Sums of US dollars, to the last digit."""

from collections.abc import Iterable
from decimal import Context, Decimal
from functools import reduce

EXACT = Context(prec=76)
"""Wide enough for every sum of the database's Decimal(38, 18); Python's default of 28 digits would round."""

_SMALLEST = Decimal("1e-18")


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum."""
    return reduce(EXACT.add, amounts, Decimal(0))


def mean(amount: Decimal, count: int) -> Decimal:
    """Return the share of each, to the 18th decimal place; 0 where there is none."""
    return EXACT.divide(amount, Decimal(count)).quantize(_SMALLEST, context=EXACT) if count else Decimal(0)
