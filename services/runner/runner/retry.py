"""When a failed call is worth another attempt, and after how long. Pure."""

import random

from runner.providers import CallFailed

MAX_ATTEMPTS = {"rate_limited": 20, "provider_unavailable": 5, "provider_timeout": 2}
"""By error code; any other is final at once. A timed-out call may have been paid, so it is repeated once."""

FIRST_WAIT_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0


def next_wait(failure: CallFailed, number: int) -> float | None:
    """Return the seconds to wait after attempt `number` failed, or None if no further one is worth it.

    Retry-After is honoured; otherwise exponential backoff with full jitter
    (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    if not failure.retryable or number >= MAX_ATTEMPTS.get(failure.code, 1):
        return None
    if failure.retry_after is not None:
        return failure.retry_after
    ceiling = min(LONGEST_BACKOFF_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** (number - 1))
    return random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret
