"""How many calls of one flow may be in flight: halved when the provider says "too many", and recovering. Pure."""

import math

START = 128.0
"""Calls in flight before anything is known; they double each round trip while nothing objects."""

PLATEAU_SHARE = 0.95
"""How near to the number that was too many a window returns at once."""

PLATEAU_ROUNDS = 10
"""Round trips at that plateau before more is tried. Without it a window halved at each trial would average three
quarters of what the provider gives, as TCP Reno does; CUBIC (RFC 9438) has its plateau for the same reason."""


class Window:
    """The congestion window of one flow. `in_flight` counts its calls; times are in seconds of the caller's clock."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._size = START
        self._plateau = math.inf
        self._rest = 0.0
        self._cut_at = -math.inf

    @property
    def full(self) -> bool:
        """Whether no further call may start now."""
        return self.in_flight >= int(self._size)

    def succeeded(self) -> None:
        """Grow, if half of the window is in use: twofold in a round trip up to the plateau, then rest, then by one."""
        if 2 * self.in_flight < self._size:
            return
        if self._size < self._plateau:
            self._size = min(self._size + 1, self._plateau)
        elif self._rest > 0:
            self._rest -= 1
        else:
            self._size += 1 / self._size
            self._plateau = self._size

    def limited(self, began: float, now: float) -> None:
        """Halve, once in a round trip: calls that began before the last cut say nothing new."""
        if began < self._cut_at:
            return
        self._cut_at = now
        reached = max(1.0, min(self._size, float(self.in_flight)))
        self._plateau = max(1.0, reached * PLATEAU_SHARE)
        self._rest = PLATEAU_ROUNDS * self._plateau
        self._size = max(1.0, reached / 2)
