"""Too many failures lock an address out for a minute, and nobody else."""

from contextlib import suppress

import pytest

from common.errors import LockedOut
from common.lockout import REMEMBERED, WINDOW_SECONDS, Lockout


class Clock:
    """Set by hand, in seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fail(lockout: Lockout, address: str, times: int) -> None:
    for _ in range(times):
        lockout.check(address)
        lockout.failed(address)


def test_the_failure_past_the_limit_is_not_looked_at() -> None:
    lockout = Lockout(3, Clock())
    fail(lockout, "10.0.0.1", 3)
    with pytest.raises(LockedOut) as locked:
        lockout.check("10.0.0.1")
    assert locked.value.retry_after == WINDOW_SECONDS
    lockout.check("10.0.0.2")


def test_a_minute_later_it_may_try_again() -> None:
    clock = Clock()
    lockout = Lockout(3, clock)
    fail(lockout, "10.0.0.1", 2)
    clock.now += WINDOW_SECONDS - 1
    fail(lockout, "10.0.0.1", 1)
    clock.now += WINDOW_SECONDS - 0.5
    with pytest.raises(LockedOut):
        lockout.check("10.0.0.1")
    clock.now += 0.5
    fail(lockout, "10.0.0.1", 3)


def test_failures_that_lie_apart_lock_nobody_out() -> None:
    clock = Clock()
    lockout = Lockout(3, clock)
    for _ in range(20):
        fail(lockout, "10.0.0.1", 2)
        clock.now += WINDOW_SECONDS


def test_all_of_an_ipv6_site_is_one_address() -> None:
    lockout = Lockout(2, Clock())
    fail(lockout, "2001:db8:1:2::1", 1)
    fail(lockout, "2001:db8:1:2:ffff::9", 1)
    with pytest.raises(LockedOut):
        lockout.check("2001:db8:1:2::7")
    lockout.check("2001:db8:1:3::7")
    lockout.failed("no address: at all")


def test_memory_is_bounded() -> None:
    lockout = Lockout(1, Clock())
    for number in range(REMEMBERED + 10):
        with suppress(LockedOut):
            fail(lockout, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)
    assert len(lockout._failures) == REMEMBERED
