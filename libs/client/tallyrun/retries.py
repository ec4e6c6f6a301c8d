"""When a call is sent again, and for how long."""

import random
import time
from collections.abc import Callable

from tallyrun.errors import TallyrunError, Unreachable

PATIENCE_SECONDS = 30.0
FIRST_SECONDS, LONGEST_SECONDS = 0.25, 5.0
"""The wait doubles from the first to the longest; a quarter of it is drawn, so that clients do not come at once."""

PASSING = {429, 502, 503, 504}
"""Statuses that pass: too much at once, and what a gateway, or a proxy before it, says while one restarts."""

Waiting = Callable[[TallyrunError, float], None]
"""Is told why a call is about to be sent again, and in how many seconds."""


def say_nothing(_: TallyrunError, __: float) -> None:
    """Wait in silence."""


class Retries:
    """Of one call, or of one stream that is taken up again: how long to wait after each failure.

    `patience`: seconds during which it is tried again, counted from the first failure after a success.
    """

    def __init__(self, patience: float, waiting: Waiting) -> None:
        self._patience = patience
        self._waiting = waiting
        self.succeeded()

    def succeeded(self) -> None:
        """Forget earlier failures."""
        self._failed_at: float | None = None
        self._next = FIRST_SECONDS

    def wait(self, error: TallyrunError) -> float:
        """Return the seconds to wait before the next try, or raise the error where none is of use."""
        now = time.monotonic()
        self._failed_at = self._failed_at or now
        seconds = error.retry_after if error.retry_after is not None else self._drawn()
        if not passing(error) or now + seconds > self._failed_at + self._patience:
            raise error
        self._waiting(error, seconds)
        return seconds

    def _drawn(self) -> float:
        seconds, self._next = self._next, min(2 * self._next, LONGEST_SECONDS)
        return seconds * random.uniform(0.75, 1)  # noqa: S311 - it spreads clients, it hides nothing


def passing(error: TallyrunError) -> bool:
    """Whether the same call may succeed later."""
    return error.again and (isinstance(error, Unreachable) or error.status in PASSING)
