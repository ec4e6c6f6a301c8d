"""Which ends of a run are not the row's last word: the row is fed again, as its next round. Pure."""

from dataclasses import dataclass
from typing import Literal

from common.contracts.runs_v1 import Status

KEY_REFUSED = frozenset({"invalid_api_key", "no_api_key", "api_key_expired", "insufficient_quota"})
"""What a new key, or a topped up account, cures: the batch pauses until then."""

TIMED = frozenset({"rate_limited", "not_served"})
"""What is worth another round at the time that was told."""

FAULT = "runner_fault"
FAULT_ROUNDS = 5
FIRST_WAIT_MS = 5_000
MOST_ROUNDS = 250

Held = Literal["held"]


@dataclass(frozen=True)
class End:
    """How one round of a row ended; `retry_at` in UTC ms, where the runner named a time."""

    status: Status
    code: str | None = None
    retry_at: int | None = None


def may_come_again(end: End, deadline: int) -> bool:
    """Whether a row with this end can be fed again, as long as its batch goes on."""
    if end.status != "failed":
        return False
    limited = end.code in TIMED and end.retry_at is not None and end.retry_at < deadline
    return limited or end.code == FAULT or end.code in KEY_REFUSED


def due(end: End, number: int, now: int, deadline: int) -> int | Held | None:
    """Return when the row is to be fed again after round `number` (UTC ms), "held" until a key comes, None: never."""
    if not may_come_again(end, deadline) or number >= MOST_ROUNDS:
        return None
    if end.code in KEY_REFUSED:
        return "held"
    if end.code == FAULT:
        wait = now + FIRST_WAIT_MS * 2**number
        return wait if number < FAULT_ROUNDS and wait < deadline else None
    return max(now, end.retry_at or now)
