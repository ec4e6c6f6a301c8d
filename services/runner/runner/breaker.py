"""Circuit breakers: after failures in a row nothing is sent for a while, then one call at a time tries. Pure."""

import math
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

REMEMBERED = 10_000
"""Breakers kept at most; the longest unused go first."""


class Breaker:
    """One circuit. Times are in seconds of whatever clock the caller has."""

    def __init__(self, threshold: int, first_cool: float, longest_cool: float) -> None:
        self._threshold = threshold
        self._first_cool = self._cool = first_cool
        self._longest_cool = longest_cool
        self._failures = 0
        self._tripped_at = math.inf
        self._until = -math.inf

    @property
    def tripped(self) -> bool:
        """Whether the last calls failed, one too many in a row."""
        return self._failures >= self._threshold

    def wait(self, now: float) -> float:
        """Return the seconds until a call may be made; 0: now."""
        return max(0.0, self._until - now) if self.tripped else 0.0

    def enter(self, now: float) -> None:
        """Note that a call is being made. In an open circuit it is the trial, and the next must wait for it."""
        if self.tripped and self._until <= now:
            self._until = now + self._cool

    def succeeded(self) -> None:
        """Close the circuit."""
        self._failures, self._cool, self._tripped_at = 0, self._first_cool, math.inf

    def failed(self, began: float, now: float) -> None:
        """Count a failure of a call that began then; those under way when the circuit opened say nothing new."""
        if began < self._tripped_at < math.inf:
            return
        self._failures += 1
        if self.tripped:
            self._until = now + self._cool
            self._tripped_at = now
            self._cool = min(2 * self._cool, self._longest_cool)


class Breakers(Generic[K]):
    """A breaker for each of whatever can fail."""

    def __init__(self, threshold: int, first_cool: float, longest_cool: float) -> None:
        self._terms = threshold, first_cool, longest_cool
        self._breakers: dict[K, Breaker] = {}

    def open(self, key: K, now: float) -> bool:
        """Whether nothing is sent through this circuit now; looking makes none."""
        return (breaker := self._breakers.get(key)) is not None and breaker.wait(now) > 0

    def count_open(self, now: float) -> int:
        """Return through how many circuits nothing is sent now."""
        return sum(breaker.wait(now) > 0 for breaker in self._breakers.values())

    def __getitem__(self, key: K) -> Breaker:
        """Return the breaker, made anew where none is remembered."""
        breaker = self._breakers.pop(key, None) or Breaker(*self._terms)
        self._breakers[key] = breaker
        if len(self._breakers) > REMEMBERED:
            del self._breakers[next(iter(self._breakers))]
        return breaker
