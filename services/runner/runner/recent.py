"""Which run ids a partition has seen lately, so that a repeated one is not called again."""

from collections.abc import Iterable
from uuid import UUID

REMEMBERED = 20_000
"""Run ids a partition remembers beyond those it learned from the journal: the stated deduplication window."""


class RecentRuns:
    """A bounded memory of run ids, oldest forgotten first; as integers, which take half the memory of UUIDs."""

    def __init__(self, finished: Iterable[UUID] = ()) -> None:
        self._ids = dict.fromkeys(run_id.int for run_id in finished)
        self._capacity = REMEMBERED + len(self._ids)

    def __contains__(self, run_id: UUID) -> bool:
        """Whether the id is remembered."""
        return run_id.int in self._ids

    def first_time(self, run_id: UUID) -> bool:
        """Remember the id; whether it was new."""
        if run_id.int in self._ids:
            return False
        self._ids[run_id.int] = None
        if len(self._ids) > self._capacity:
            del self._ids[next(iter(self._ids))]
        return True
