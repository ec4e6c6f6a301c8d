"""What the vault writes down of everything it does with a key, in the transaction that does it."""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from common.http import Denial
from common.ids import now_ms

Action = Literal["save", "activate", "erase", "deactivate", "lease", "import", "revoke", "deny"]
DONE = "done"


@dataclass(frozen=True)
class AuditEntry:
    """Who did what to which key, and when (UTC ms). `outcome` is DONE, or the code of the refusal.

    A refused lease lacks what was not established: the workspace where the grant was not genuine, the key where
    there was none.
    """

    action: Action
    actor: str
    outcome: str = DONE
    workspace_id: UUID | None = None
    provider: str | None = None
    key_id: UUID | None = None
    version: int | None = None
    grant_id: UUID | None = None
    operation: str | None = None
    at: int = field(default_factory=now_ms)


def denied_entry(denial: Denial) -> AuditEntry:
    """Return what is written down of a request that was refused at the door."""
    actor = denial.caller or f"unknown, from {denial.address}"
    return AuditEntry("deny", actor, outcome=denial.code, operation=f"{denial.method} {denial.path}")
