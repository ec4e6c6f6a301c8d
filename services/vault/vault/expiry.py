"""When a key expires, and what that means."""

from datetime import UTC, datetime

from common.contracts.credentials_v1 import KeyState
from common.errors import InvalidRequest

EXPIRING_MS = 14 * 86_400_000
"""How long before its expiry a key is shown as expiring: two weeks to rotate it in."""


def state_of(*, live: bool, expires_at: int | None, now: int) -> KeyState:
    """Return the state of a key at `now`. Times are UTC ms."""
    if not live:
        return "inactive"
    if expires_at is None or expires_at - now > EXPIRING_MS:
        return "active"
    return "expiring" if expires_at > now else "expired"


def check_expiry(expires_at: int | None, now: int) -> None:
    """Raise `InvalidRequest` for an expiry that has passed already."""
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest(f"the key's expiry lies in the past ({day(expires_at)}): give a later one, or none")


def day(ms: int) -> str:
    """Return a time as it is shown."""
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
