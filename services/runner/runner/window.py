"""How many calls of one flow may be in flight: halved when the provider says "too many", and recovering. Pure."""

import math

START = 128.0
"""Calls in flight before anything is known; they double each round trip while nothing objects."""

REST_ROUNDS = 10
"""Round trips at what went through, before more is tried. Without a plateau, a window halved at each trial averages
three quarters of what the provider gives, as TCP Reno does; BIC and CUBIC (RFC 9438) have theirs for that reason."""

SLACK_SECONDS = 0.005
"""How far behind its pace a flow may fall and catch up: a timer is not more exact."""

LATEST = 0.2
"""Weight of the latest call in the mean duration of a call."""


class Window:
    """The congestion window of one flow. Times are in seconds of the caller's clock.

    Once it was halved, its calls are spread over the round trip: a provider that counts by the second, or refills a
    small bucket, would refuse calls that start together, however few they are.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._size = START
        self._plateau = math.inf
        self._rest = 0.0
        self._step = 1.0
        self._cut_at = -math.inf
        self._call_seconds = 0.0
        self._next_start = -math.inf

    def wait(self, now: float) -> float:
        """Return the seconds until a call may start; infinity is "when another one has ended"."""
        return math.inf if self.in_flight >= self._size else max(0.0, self._next_start - now)

    def enter(self, now: float) -> None:
        """Note that a call starts."""
        self.in_flight += 1
        if self._plateau < math.inf:
            self._next_start = max(self._next_start, now - SLACK_SECONDS) + self._call_seconds / self._size

    def succeeded(self, took: float) -> None:
        """Grow, if half of the window is in use: twofold in a round trip up to the plateau, then rest, then further."""
        self._call_seconds += LATEST * (took - self._call_seconds) if self._call_seconds else took
        if 2 * self.in_flight < self._size:
            return
        if self._size < self._plateau:
            self._size = min(self._size + 1, self._plateau)
        elif self._rest > 0:
            self._rest -= 1 / self._size
        else:
            self._explore()

    def limited(self, began: float, now: float) -> None:
        """Halve, once in a round trip. What else was under way then tells how many are not too many."""
        if began < self._cut_at:
            self._plateau = max(1.0, self._plateau - 1)
            self._size = min(self._size, self._plateau)
            return
        self._cut_at = now
        # Calls that all started at once told of the provider's bucket, not of its rate: that is still to be found.
        first = self._plateau == math.inf
        self._rest, self._step = (0.0, START) if first else (REST_ROUNDS, 1.0)
        self._plateau = max(1.0, self._size - 1)
        self._size = max(1.0, self._size / 2)

    def _explore(self) -> None:
        """Go beyond the plateau: by one in the first round trip, by two in the next, then by four."""
        self._size += min(1.0, self._step / self._size)
        if self._size >= self._plateau + self._step:
            self._plateau = self._size
            self._step *= 2
