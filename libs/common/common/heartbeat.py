"""Whether a loop that must never end still turns: what a liveness probe asks a worker."""

import time
from collections.abc import Callable

from common.errors import Unavailable

LONGEST_TURN_SECONDS = 300.0
"""Far longer than any turn: a request of the ClickHouse client takes 60 s at most, a rebalance or a broker that is away
a few sessions of 10 s. Whatever is older hangs, and only a restart helps."""


class Heartbeat:
    """The time of a loop's last turn. It tells of the loop alone: whoever waits for a neighbour goes on beating."""

    def __init__(self, seconds: float = LONGEST_TURN_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self.beat()

    def beat(self) -> None:
        """Note a turn."""
        self._beat_at = self._clock()

    async def check(self) -> None:
        """Raise `Unavailable` if the last turn is too long ago."""
        if (age := self._clock() - self._beat_at) > self._seconds:
            raise Unavailable(f"the loop has not turned for {age:.0f} s: restart this process")
