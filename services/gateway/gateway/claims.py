"""Runs that their callers named: one idempotency key is one run, whatever is sent again."""

import hashlib
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from common.errors import IdempotencyConflict, InvalidRequest
from common.ids import named_run_id, new_id, now_ms

MAX_KEY_CHARACTERS = 255
_TIME_SHIFT = 80
"""The upper 48 of a UUIDv7's 128 bits are its Unix milliseconds (RFC 9562, 5.7)."""


@dataclass(frozen=True)
class Claim:
    """A named run, stored before it is published. `published`: the broker acknowledged it."""

    run_id: UUID
    workspace_id: UUID
    body_hash: bytes
    accepted_at: int
    published: bool = False


@dataclass(frozen=True)
class Ticket:
    """A run about to be published. `repeated`: its caller sent it before; `published`: and the broker has it."""

    run_id: UUID
    accepted_at: int
    named: bool = False
    repeated: bool = False
    published: bool = False


class ClaimStore(Protocol):
    """Where claims are kept."""

    async def claim(self, claim: Claim, idempotency_key: str) -> Claim | None:
        """Store the claim; return None, or the earlier claim of the same run."""

    async def mark_published(self, run_id: UUID) -> None:
        """Note that the broker acknowledged the run."""


def new_ticket() -> Ticket:
    """Return a ticket under a fresh id, accepted at the very time that the id carries."""
    run_id = new_id()
    return Ticket(run_id, run_id.int >> _TIME_SHIFT)


async def claimed_ticket(claims: ClaimStore, workspace_id: UUID, key: str, body: bytes) -> Ticket:
    """Return the ticket of the run that this key names; raise `IdempotencyConflict` if it names another body."""
    if not 0 < len(key) <= MAX_KEY_CHARACTERS:
        raise InvalidRequest(f"Idempotency-Key: it must have 1 to {MAX_KEY_CHARACTERS} characters")
    mine = Claim(named_run_id(str(workspace_id), key), workspace_id, hashlib.sha256(body).digest(), now_ms())
    earlier = await claims.claim(mine, key)
    if earlier is None:
        return Ticket(mine.run_id, mine.accepted_at, named=True)
    if earlier.body_hash != mine.body_hash:
        raise IdempotencyConflict("this Idempotency-Key was used before, with another body")
    return Ticket(earlier.run_id, earlier.accepted_at, named=True, repeated=True, published=earlier.published)
