"""Bulk records left in the log for later, so that a small workspace need not wait for all that a huge one has queued.

All workspaces' bulk stands in one line. A runner that has a workspace's share of runs in hand reads on past its others,
remembers where they lie, and comes back for them as the share runs down. Pure bookkeeping.
"""

from collections import Counter
from uuid import UUID

READ_ON_SECONDS = 0.25
"""For so long at least a partition is read on before its parked records are looked at again: others may come behind."""


class Shares:
    """How many bulk runs each workspace has in hand; its share is an equal part of `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_hand: Counter[UUID] = Counter()

    def enter(self, workspace: UUID) -> None:
        """Note that a run of the workspace is in hand."""
        self._in_hand[workspace] += 1

    def leave(self, workspace: UUID) -> None:
        """Note that it is not any more."""
        self._in_hand[workspace] -= 1
        if not self._in_hand[workspace]:
            del self._in_hand[workspace]

    def full(self, workspace: UUID) -> bool:
        """Whether the workspace has its share in hand."""
        return self._in_hand[workspace] >= self._share

    def low(self, workspace: UUID) -> bool:
        """Whether half of its share is free, so that it is worth going back for more."""
        return self._in_hand[workspace] <= self._share / 2

    @property
    def _share(self) -> int:
        return max(1, self._most // max(1, len(self._in_hand)))


class Parking:
    """Which of one partition's records are parked, and where to read next."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._parked: dict[UUID, dict[int, None]] = {}
        """Offsets by workspace, each in the order of the log: records are parked when they are first read."""
        self._admitted: dict[int, UUID] = {}
        self._back_at = 0.0

    @property
    def count(self) -> int:
        """How many records are parked."""
        return sum(len(offsets) for offsets in self._parked.values())

    def admit(self, workspace: UUID, offset: int) -> bool:
        """Let a record in and count it as in hand, or park it where its workspace has its share."""
        if self._shares.full(workspace):
            self._parked.setdefault(workspace, {})[offset] = None
            return False
        self._unpark(workspace, offset)
        self._shares.enter(workspace)
        self._admitted[offset] = workspace
        return True

    def parked(self, workspace: UUID, offset: int) -> bool:
        """Whether this record is left for later."""
        return offset in self._parked.get(workspace, ())

    def finish(self, offset: int) -> None:
        """The record, if it was admitted here, is in hand no more."""
        if (workspace := self._admitted.pop(offset, None)) is not None:
            self._shares.leave(workspace)

    def turn(self, position: int, frontier: int, now: float, *, full: bool) -> int | None:
        """Return the offset to read at next, if it is not `position`: back at parked records, or on at the `frontier`.

        `frontier`: one past the last record that was ever read. `full`: nothing can come in now.
        """
        if position >= frontier:
            return None if full or now < self._back_at else self._first_wanted()
        if not full and self._wanted_from(position):
            return None
        self._back_at = now + READ_ON_SECONDS
        return frontier

    def _first_wanted(self) -> int | None:
        return min(
            (next(iter(offsets)) for who, offsets in self._parked.items() if self._shares.low(who)), default=None
        )

    def _wanted_from(self, offset: int) -> bool:
        """Whether one that is parked there or later may come in."""
        return any(
            next(reversed(offsets)) >= offset and not self._shares.full(who) for who, offsets in self._parked.items()
        )

    def _unpark(self, workspace: UUID, offset: int) -> None:
        offsets = self._parked.get(workspace, {})
        offsets.pop(offset, None)
        if not offsets:
            self._parked.pop(workspace, None)
