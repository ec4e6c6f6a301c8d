"""Grants that are no more: refused here from the moment of their revocation, and by every runner soon after."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from common.contracts.credentials_v1 import GrantRevoked
from common.contracts.topics import DAY_MS
from common.identity import LONGEST_GRANT_DAYS
from vault.audit import AuditEntry

KEPT_MS = (LONGEST_GRANT_DAYS + 1) * DAY_MS
"""The day is for clocks that differ, and for whoever looks."""


class Transaction(Protocol):
    """What happens together or not at all."""

    async def revoke_grant(self, workspace_id: UUID, grant_id: UUID) -> bool:
        """Remember the grant as revoked; False if it was already."""

    async def forget_revoked(self, revoked_before: int) -> None:
        """Forget the grants that were revoked before a time."""

    async def audit(self, entry: AuditEntry) -> None:
        """Write it down."""


class Store(Protocol):
    """Where revocations are kept."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commit at the end of the block, or roll back if it raises."""


Announce = Callable[[GrantRevoked], Awaitable[None]]
"""Returns once the broker acknowledged the eviction; raises `Unavailable` otherwise."""


class Grants:
    """Ends grants. Who issues them keeps the list; here only those are known that must not be honoured."""

    def __init__(self, store: Store, announce: Announce) -> None:
        self._store = store
        self._announce = announce

    async def revoke(self, workspace_id: UUID, grant_id: UUID, actor: str) -> None:
        """End the grant for good: no lease from now on, and the broker has acknowledged the eviction on return.

        Raises `Unavailable` without the acknowledgement: the grant is revoked then, and a repetition announces it
        again.
        """
        async with self._store.transaction() as transaction:
            if await transaction.revoke_grant(workspace_id, grant_id):
                await transaction.audit(AuditEntry("revoke", actor, workspace_id=workspace_id, grant_id=grant_id))
        await self._announce(GrantRevoked(workspace_id=workspace_id, grant_id=grant_id))

    async def forget(self, now: int) -> None:
        """Forget the revocations whose grants have ended by themselves meanwhile (`now`: UTC ms)."""
        async with self._store.transaction() as transaction:
            await transaction.forget_revoked(now - KEPT_MS)
