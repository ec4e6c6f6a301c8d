"""When another attempt is worth it."""

import pytest

from runner.providers import CallFailed
from runner.retry import FIRST_WAIT_SECONDS, LONGEST_BACKOFF_SECONDS, MAX_ATTEMPTS, next_wait


def failed(code: str, *, retryable: bool = True, retry_after: float | None = None) -> CallFailed:
    return CallFailed(code, "it failed", retryable=retryable, retry_after=retry_after)


def test_what_cannot_succeed_is_final() -> None:
    assert next_wait(failed("invalid_api_key", retryable=False), 1) is None


def test_retry_after_is_honoured() -> None:
    assert next_wait(failed("rate_limited", retry_after=7.5), 1) == 7.5


@pytest.mark.parametrize(("code", "limit"), MAX_ATTEMPTS.items())
def test_attempts_are_bounded(code: str, limit: int) -> None:
    assert next_wait(failed(code), limit - 1) is not None
    assert next_wait(failed(code), limit) is None


@pytest.mark.parametrize("number", [1, 3, 19])
def test_backoff_grows_to_its_ceiling(number: int) -> None:
    ceiling = min(LONGEST_BACKOFF_SECONDS, FIRST_WAIT_SECONDS * 2 ** (number - 1))
    waits = [next_wait(failed("rate_limited"), number) or 0 for _ in range(200)]
    assert all(0 <= wait <= ceiling for wait in waits)
    assert max(waits) > ceiling / 2  # jitter over the whole range: 2^-200 that none is in the upper half
