"""Which records of one partition are unfinished. Pure bookkeeping, so that it can be proven."""

from collections import deque


class Offsets:
    """Follows one partition's records from begun to finished, in any order of finishing.

    The committable offset never passes an unfinished record (R1).
    """

    def __init__(self) -> None:
        self._begun: deque[int] = deque()
        self._finished: set[int] = set()
        self.next = 0
        """One past the newest record that was delivered."""

    def begin(self, offset: int) -> bool:
        """Note a delivered record; False if it was delivered before, as happens after a rebalance."""
        if offset < self.next:
            return False
        self._begun.append(offset)
        self.next = offset + 1
        return True

    def finish(self, offset: int) -> None:
        """Note that the record needs no more work."""
        self._finished.add(offset)
        while self._begun and self._begun[0] in self._finished:
            self._finished.remove(self._begun.popleft())

    @property
    def committable(self) -> int:
        """The offset to commit: of the oldest unfinished record, or one past the last record. 0: nothing yet."""
        return self._begun[0] if self._begun else self.next

    @property
    def span(self) -> int:
        """How many offsets lie between the oldest unfinished record and the newest."""
        return self.next - self.committable
