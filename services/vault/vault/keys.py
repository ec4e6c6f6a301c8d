"""The life of a provider key: saved as pending, activated or erased after its check, rotated, deactivated.

A key keeps its id through rotations; each secret is a version of it. A rotation's version waits beside the active one,
which stays in use until it is replaced. `revision` counts a key's saves, activations and its deactivation, and orders
leases against evictions: every lease of an older revision than an eviction's is void.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, Protocol
from uuid import UUID

from pydantic import SecretStr

from common.contracts.credentials_v1 import (
    Activate,
    CredentialsChanged,
    KeyHistory,
    KeyVersion,
    KeyView,
    SavedKey,
    SaveKey,
)
from common.errors import Conflict, NotFound
from common.ids import new_id, now_ms
from vault.audit import AuditEntry
from vault.envelope import Context
from vault.expiry import check_expiry

SHORTEST_PREVIEWED = 12
"""A shorter secret is shown without its last four characters: they would be too much of it."""

STALE_MS = 600_000
"""A pending version that waits for longer is erased: its check was lost, or its gateway died."""

SWEEPER = "vault"
"""The actor in the audit when nobody came back for a pending version."""


@dataclass(frozen=True)
class Key:
    """What all versions of a key share. Times are UTC ms."""

    id: UUID
    workspace_id: UUID
    provider: str
    name: str
    latest_version: int
    active_version: int | None
    revision: int
    created_at: int
    deactivated_at: int | None

    def context(self, version: int) -> Context:
        """Return the place a version's secret is sealed for."""
        return Context(self.workspace_id, self.provider, self.id, version)


@dataclass(frozen=True)
class Pending:
    """A version that nobody activated or erased yet."""

    workspace_id: UUID
    key_id: UUID
    version: int


class Transaction(Protocol):
    """What happens together or not at all. A key that it returns stays locked until the end, lists excepted."""

    async def next_version(self, key: Key) -> Key:
        """Add this key, or where its name is taken by a live one raise that one's latest version and revision."""

    async def add_pending(self, key: Key, sealed: bytes, preview: str, expires_at: int | None) -> None:
        """Add the key's latest version."""

    async def locked(self, workspace_id: UUID, key_id: UUID) -> Key | None:
        """Return a key of the workspace."""

    async def activate(self, key: Key, *, verified: bool) -> Key | None:
        """Make the latest version the active one and wipe the older ones; None if it is not pending."""

    async def deactivate(self, key: Key) -> Key:
        """Mark the key as deactivated."""

    async def erase(self, key: Key, version: int) -> bool:
        """Remove a pending version, and the key if that was all of it; False if no such version is pending."""

    async def pending_before(self, created_at: int) -> list[Pending]:
        """Return the pending versions that were saved before a time."""

    async def views(self, workspace_id: UUID) -> list[KeyView]:
        """Return the workspace's keys that are or were active, the oldest first."""

    async def primary_kek(self) -> int:
        """Return the version of the key-encryption key that seals; it stays that until the end."""

    async def versions(self, key_id: UUID) -> list[KeyVersion]:
        """Return the key's versions, the oldest first."""

    async def audit(self, entry: AuditEntry) -> None:
        """Write it down."""


class Store(Protocol):
    """Where keys are kept."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commit at the end of the block, or roll back if it raises."""


class Sealer(Protocol):
    """Closes secrets."""

    async def seal(self, kek_version: int, context: Context, secret: SecretStr) -> bytes:
        """Return what opens in this context alone, under this version of the key-encryption key."""


Announce = Callable[[CredentialsChanged], Awaitable[None]]
"""Returns once the broker acknowledged the eviction; raises `Unavailable` otherwise."""


class Keys:
    """Every change to a key. Each is audited in its own transaction."""

    def __init__(self, store: Store, sealer: Sealer, announce: Announce) -> None:
        self._store = store
        self._sealer = sealer
        self._announce = announce

    async def save(self, workspace_id: UUID, request: SaveKey) -> SavedKey:
        """Save the secret as a pending version: of a new key, or of the live one that has this name.

        Raises `InvalidRequest` if it has expired already.
        """
        check_expiry(request.expires_at, now_ms())
        async with self._store.transaction() as transaction:
            key = await transaction.next_version(new_key(workspace_id, request))
            kek_version = await transaction.primary_kek()
            sealed = await self._sealer.seal(kek_version, key.context(key.latest_version), request.secret)
            await transaction.add_pending(key, sealed, preview_of(request.secret), request.expires_at)
            await transaction.audit(_entry("save", key, key.latest_version, request.actor))
        return SavedKey(key_id=key.id, version=key.latest_version)

    async def activate(self, workspace_id: UUID, key_id: UUID, version: int, request: Activate) -> KeyView:
        """Put a checked version into use, if it still is pending and the newest; a repetition changes nothing.

        Raises `NotFound`, `Conflict`, and `Unavailable` if the eviction of the version it replaces was not
        acknowledged: the version is active then, and a repetition announces it again.
        """
        async with self._store.transaction() as transaction:
            key = _live(await transaction.locked(workspace_id, key_id))
            if key.active_version != version:
                key = await self._swap(transaction, key, version, request)
            view = next(view for view in await transaction.views(workspace_id) if view.id == key_id)
        if version > 1:  # a first version replaces none
            await self._announce(_changed(key, "activated"))
        return view

    async def _swap(self, transaction: Transaction, key: Key, version: int, request: Activate) -> Key:
        newest = key.latest_version == version
        swapped = await transaction.activate(key, verified=request.verified) if newest else None
        if swapped is None:
            raise Conflict(f"version {version} no longer waits: it was erased, or a newer one was saved")
        await transaction.audit(_entry("activate", key, version, request.actor))
        return swapped

    async def erase(self, workspace_id: UUID, key_id: UUID, version: int, actor: str) -> None:
        """Remove a pending version, and the key if it has no other; `Conflict` if the version is in use."""
        async with self._store.transaction() as transaction:
            key = await transaction.locked(workspace_id, key_id)
            if key is None:
                return
            if key.active_version == version:
                raise Conflict(f"version {version} was activated")
            if await transaction.erase(key, version):
                await transaction.audit(_entry("erase", key, version, actor))

    async def sweep(self, created_before: int) -> None:
        """Erase the pending versions that were saved before this time (UTC ms)."""
        async with self._store.transaction() as transaction:
            stale = await transaction.pending_before(created_before)
        for pending in stale:
            await self.erase(pending.workspace_id, pending.key_id, pending.version, SWEEPER)

    async def list(self, workspace_id: UUID) -> list[KeyView]:
        """Return the workspace's keys, deactivated ones included, the oldest first."""
        async with self._store.transaction() as transaction:
            return await transaction.views(workspace_id)

    async def history(self, workspace_id: UUID, key_id: UUID) -> KeyHistory:
        """Return a key that is or was active, with all its versions; raise `NotFound`."""
        async with self._store.transaction() as transaction:
            view = next((view for view in await transaction.views(workspace_id) if view.id == key_id), None)
            if view is None:
                raise _unknown()
            return KeyHistory(key=view, versions=tuple(await transaction.versions(key_id)))

    async def deactivate(self, workspace_id: UUID, key_id: UUID, actor: str) -> None:
        """End the key for good: no lease from now on, and the broker has acknowledged the eviction on return.

        Raises `NotFound`, and `Unavailable` without the acknowledgement: the key is inactive then, and a repetition
        announces it again.
        """
        async with self._store.transaction() as transaction:
            key = await transaction.locked(workspace_id, key_id)
            if key is None or key.active_version is None:
                raise _unknown()
            if key.deactivated_at is None:
                await transaction.audit(_entry("deactivate", key, key.active_version, actor))
                key = await transaction.deactivate(key)
        await self._announce(_changed(key, "deactivated"))


def new_key(workspace_id: UUID, request: SaveKey) -> Key:
    """Return a key that has its first version, not in use yet."""
    return Key(
        id=new_id(),
        workspace_id=workspace_id,
        provider=request.provider,
        name=request.name,
        latest_version=1,
        active_version=None,
        revision=1,
        created_at=now_ms(),
        deactivated_at=None,
    )


def preview_of(secret: SecretStr) -> str:
    """Return what may be shown of a secret."""
    return secret.get_secret_value()[-4:] if len(secret) >= SHORTEST_PREVIEWED else ""


def _live(key: Key | None) -> Key:
    if key is None:
        raise _unknown()
    if key.deactivated_at is not None:
        raise Conflict("the key was deactivated")
    return key


def _unknown() -> NotFound:
    return NotFound("no such key in this workspace")


def _entry(
    action: Literal["save", "activate", "erase", "deactivate"], key: Key, version: int, actor: str
) -> AuditEntry:
    return AuditEntry(
        action, actor, workspace_id=key.workspace_id, provider=key.provider, key_id=key.id, version=version
    )


def _changed(key: Key, reason: Literal["activated", "deactivated"]) -> CredentialsChanged:
    return CredentialsChanged(workspace_id=key.workspace_id, key_id=key.id, revision=key.revision, reason=reason)
