"""Which run ids a partition has seen lately, so that a repeated one is not called again."""

from array import array
from collections.abc import Iterable
from uuid import UUID

REMEMBERED = 20_000
"""Run ids a partition remembers beyond those it learned from the journal: the stated deduplication window."""

LOW = 2**64 - 1

SPARE = 2
"""Slots for each id: a probe then ends after one or two steps."""


class RecentRuns:
    """A bounded memory of at least the last `REMEMBERED` run ids and at most twice as many.

    Two generations: when the younger is full, the older is forgotten. An id takes 32 bytes in each, in a dict 115.
    """

    def __init__(self, finished: Iterable[UUID] = ()) -> None:
        known = set(finished)
        self._capacity = REMEMBERED + len(known)
        self._older, self._younger = _Ids(1), _Ids(self._capacity)
        for run_id in known:
            self._younger.add(run_id)

    def __contains__(self, run_id: UUID) -> bool:
        """Whether the id is remembered."""
        return run_id in self._younger or run_id in self._older

    def first_time(self, run_id: UUID) -> bool:
        """Remember the id; whether it was new."""
        if run_id in self:
            return False
        if len(self._younger) == self._capacity:
            self._older, self._younger = self._younger, _Ids(self._capacity)
        self._younger.add(run_id)
        return True


class _Ids:
    """A set of up to `capacity` ids in one block of memory.

    Open addressing with linear probing; a low half of 0 marks a free slot.
    """

    def __init__(self, capacity: int) -> None:
        self._slots = SPARE * capacity
        self._high, self._low = array("Q", bytes(8 * self._slots)), array("Q", bytes(8 * self._slots))
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, run_id: UUID) -> bool:
        return self._low[self._place(run_id)] != 0

    def add(self, run_id: UUID) -> None:
        """Add an id that is not there."""
        slot = self._place(run_id)
        self._high[slot], self._low[slot] = _halves(run_id)
        self._length += 1

    def _place(self, run_id: UUID) -> int:
        """Return the slot that has the id, or the first free one from where it should be."""
        high, low = _halves(run_id)
        # The hash of bytes is salted in each process: a publisher cannot choose ids that collide.
        slot = hash(run_id.bytes) % self._slots
        while self._low[slot] and (self._low[slot] != low or self._high[slot] != high):
            slot = (slot + 1) % self._slots
        return slot


def _halves(run_id: UUID) -> tuple[int, int]:
    """Return both halves; the low one is never 0, for a UUID's begins with its variant (RFC 9562, 4.1)."""
    return run_id.int >> 64, (run_id.int & LOW) or LOW
