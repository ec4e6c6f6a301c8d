"""How many rows of a batch may be unfinished at a time. Pure."""

from collections import deque

SMALLEST, LARGEST = 200, 10_000
SECONDS_AHEAD = 10.0
"""So much work waits beside what is being called: enough to outlast a hiccup of ours, little enough to cancel."""

MEASURED_SECONDS = 10


def window(rate: float, latency: float) -> int:
    """Return the window at this rate (rows a second) and mean latency of a call (seconds).

    By Little's law rate × latency rows are being called. Without that part, a provider that takes its time would be
    held at the smallest window, however many calls it could take at once.
    """
    return max(SMALLEST, min(LARGEST, round(rate * (SECONDS_AHEAD + latency))))


class Rate:
    """Measures ends over the last seconds. Times are in seconds, of any one clock."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int, float]] = deque()
        self._since: float | None = None

    def ended(self, now: float, latency: float = 0.0) -> None:
        """Count an end; `latency` of its calls."""
        self._since = now if self._since is None else self._since
        second, count, sum_ = self._seconds.pop() if self._current(now) else (int(now), 0, 0.0)
        self._seconds.append((second, count + 1, sum_ + latency))

    def measured(self, now: float) -> tuple[float, float]:
        """Return the ends a second and their mean latency."""
        while self._seconds and self._seconds[0][0] <= now - MEASURED_SECONDS:
            self._seconds.popleft()
        ends = sum(count for _, count, _ in self._seconds)
        if not ends or self._since is None:
            return 0.0, 0.0
        span = max(1.0, min(float(MEASURED_SECONDS), now - self._since))
        return ends / span, sum(latency for _, _, latency in self._seconds) / ends

    def _current(self, now: float) -> bool:
        return bool(self._seconds) and self._seconds[-1][0] == int(now)
