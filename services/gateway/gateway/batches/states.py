"""How each row of a batch stands, in a few bytes a row. Pure: times are given, UTC ms."""

import heapq
from array import array
from dataclasses import dataclass
from enum import IntEnum

from common.contracts.runs_v1 import Status
from gateway.batches.again import End, due


class RowState(IntEnum):
    """Waiting is for a time, or for a key; the last four are final."""

    UNFED = 0
    IN_FLIGHT = 1
    WAITING = 2
    SUCCEEDED = 3
    FAILED = 4
    EXPIRED = 5
    CANCELLED = 6


FINAL: dict[Status, RowState] = {
    "succeeded": RowState.SUCCEEDED,
    "failed": RowState.FAILED,
    "expired": RowState.EXPIRED,
    "cancelled": RowState.CANCELLED,
}


@dataclass(frozen=True)
class Flight:
    """A run that is under way. `unsure_until`: until when a record without an acknowledgement may be appended."""

    accepted_at: int
    unsure_until: int | None = None


class RowStates:
    """Moves rows from state to state; whatever comes twice, late or out of order changes nothing the second time."""

    def __init__(self, count: int, deadline: int) -> None:
        self._deadline = deadline
        self._states = bytearray(count)
        self._rounds = array("H", bytes(2 * count))
        self._counts = [count, *[0] * (len(RowState) - 1)]
        self._unfed_from = 0
        self._waiting: list[tuple[int, int]] = []
        self._due: dict[int, int] = {}
        self._held: set[int] = set()
        self._never_fed = 0
        self.flights: dict[int, Flight] = {}
        self.resumed_at = 0

    def __getitem__(self, row: int) -> RowState:
        """Return a row's state."""
        return RowState(self._states[row])

    def count(self, state: RowState) -> int:
        """Return how many rows are in this state."""
        return self._counts[state]

    @property
    def fed(self) -> int:
        """How many rows were ever sent."""
        return len(self._states) - self._counts[RowState.UNFED] - self._never_fed

    @property
    def open(self) -> int:
        """How many rows are not final."""
        return sum(self._counts[state] for state in (RowState.UNFED, RowState.IN_FLIGHT, RowState.WAITING))

    def round(self, row: int) -> int:
        """Return the round that the row is in, or is to be fed as."""
        return self._rounds[row]

    def next(self, now: int) -> int | None:
        """Return the row to be fed next, if there is one now."""
        while self._waiting and self._due.get(self._waiting[0][1]) != self._waiting[0][0]:
            heapq.heappop(self._waiting)  # it waits for something else, or not any more
        if self._waiting and self._waiting[0][0] <= now:
            return self._waiting[0][1]
        self._unfed_from = self._states.find(RowState.UNFED, self._unfed_from)
        if self._unfed_from < 0:
            self._unfed_from = len(self._states)
            return None
        return self._unfed_from

    def start(self, row: int, accepted_at: int) -> None:
        """Note that the row is sent."""
        self._move(row, RowState.IN_FLIGHT)
        self.flights[row] = Flight(accepted_at)

    def unsure(self, row: int, until: int) -> None:
        """Note that nobody acknowledged the row: by `until` it is appended, or never will be."""
        if (flight := self.flights.get(row)) is not None:
            self.flights[row] = Flight(flight.accepted_at, until)

    def unsent(self, row: int, now: int) -> None:
        """Note that the row never got there: it is to be sent again, as the same round."""
        if self.flights.pop(row, None) is None:
            return
        if self._rounds[row]:
            self._wait(row, now)
        else:
            self._move(row, RowState.UNFED)
            self._unfed_from = min(self._unfed_from, row)

    def accepted(self, row: int, number: int) -> None:
        """Learn, after a crash, that the log has this round of the row."""
        if number < self._rounds[row] or self[row] not in (RowState.UNFED, RowState.WAITING):
            return
        self._rounds[row] = number
        self.start(row, accepted_at=0)

    def ended(self, row: int, number: int, end: End, now: int) -> bool:
        """Learn how a round of the row ended; return whether the row waits for a key since."""
        if number < self._rounds[row] or self._states[row] >= RowState.SUCCEEDED:
            return False
        flight = self.flights.pop(row, None)
        self._rounds[row] = number
        again = due(end, number, now, self._deadline)
        if again is None:
            self._move(row, FINAL[end.status])
            return False
        self._rounds[row] = number + 1
        held = again == "held" and flight is not None and flight.accepted_at >= self.resumed_at
        if again == "held" and (held or flight is None):
            self._hold(row)
        else:
            self._wait(row, now if again == "held" else again)
        return held

    def resume(self, now: int) -> None:
        """Feed again what waits for a key; what was sent before, and is refused yet, does not pause anew."""
        self.resumed_at = now
        held, self._held = self._held, set()
        for row in held:
            self._wait(row, now)

    def give_up(self, row: int, state: RowState) -> None:
        """Make the row's end final though it was not fed, or not again: then its last round is its result."""
        if self[row] is RowState.WAITING:
            self._move(row, RowState.FAILED)
        elif self[row] is RowState.UNFED:
            self._never_fed += 1
            self._move(row, state)

    def give_up_all(self, state: RowState) -> None:
        """Make every row that is not under way final."""
        if self.open > len(self.flights):
            for row in range(len(self._states)):
                self.give_up(row, state)

    def lose_all(self) -> None:
        """Make every row final, as expired: what is under way long after the deadline never ends."""
        for row in list(self.flights):
            del self.flights[row]
            self._move(row, RowState.EXPIRED)
        self.give_up_all(RowState.EXPIRED)

    def _wait(self, row: int, until: int) -> None:
        self._move(row, RowState.WAITING)
        self._due[row] = until
        heapq.heappush(self._waiting, (until, row))

    def _hold(self, row: int) -> None:
        self._move(row, RowState.WAITING)
        self._held.add(row)

    def _move(self, row: int, state: RowState) -> None:
        self._due.pop(row, None)
        self._held.discard(row)
        self._counts[self._states[row]] -= 1
        self._states[row] = state
        self._counts[state] += 1
