"""Failed tokens: counted for each client address, and past a limit no further one is looked at for a while."""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from common.errors import LockedOut

ALLOWED = 20
WINDOW_SECONDS = 60.0
"""So many failures within a minute, and then a minute's pause."""

REMEMBERED = 10_000
IPV6_SITE = 64
"""Whoever has one IPv6 address has all of its /64."""


@dataclass
class _Failures:
    since: float
    count: int = 0


class Lockout:
    """Who failed how often of late. The oldest of 10,000 addresses is forgotten first."""

    def __init__(self, allowed: int = ALLOWED, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowed = allowed
        self._clock = clock
        self._failures: dict[str, _Failures] = {}

    def check(self, address: str) -> None:
        """Raise `LockedOut` if this address has failed too often."""
        failures = self._failures.get(_site(address))
        if failures is None or failures.count < self._allowed:
            return
        left = failures.since + WINDOW_SECONDS - self._clock()
        if left > 0:
            raise LockedOut("too many failed tokens from this address", retry_after=left)

    def failed(self, address: str) -> None:
        """Count one failure. The pause begins with the last one that is allowed."""
        site, now = _site(address), self._clock()
        failures = self._failures.pop(site, None)
        if failures is None or now >= failures.since + WINDOW_SECONDS:
            failures = _Failures(now)
        failures.count += 1
        if failures.count == self._allowed:
            failures.since = now
        self._failures[site] = failures
        if len(self._failures) > REMEMBERED:
            del self._failures[next(iter(self._failures))]


def address_of(request: Request) -> str:
    """Return the client's address; behind a proxy it is the proxy's unless FORWARDED_ALLOW_IPS trusts that."""
    return request.client.host if request.client else "unknown"


def _site(address: str) -> str:
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, IPV6_SITE), strict=False))
    except ValueError:  # a proxy's word that is no address
        return address
