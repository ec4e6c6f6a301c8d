"""Identifiers and the clock they carry."""

import time
import uuid

from uuid_utils.compat import uuid7

NAMESPACE = uuid.UUID("6f1f5b5e-0a43-5d0c-9f0a-7a11ab1e0001")
"""The namespace of every named run id; fixed for ever, since ids derived from it are stored."""


def now_ms() -> int:
    """Return the time now, in UTC milliseconds."""
    return time.time_ns() // 1_000_000


def new_id() -> uuid.UUID:
    """Return a fresh UUIDv7: unique, and sorted by the time it was made (RFC 9562)."""
    return uuid7()


def named_run_id(*names: str) -> uuid.UUID:
    """Return the UUIDv5 of a run its caller named: (workspace, idempotency key) or (batch, custom id, round)."""
    return uuid.uuid5(NAMESPACE, "\x1f".join(names))
