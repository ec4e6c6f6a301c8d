"""Provider keys and their versions, as one transaction sees them."""

from dataclasses import asdict, replace
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Select,
    Uuid,
    bindparam,
    delete,
    exists,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from common.contracts.credentials_v1 import KeyVersion, KeyView
from common.ids import now_ms
from vault.audit import AuditEntry
from vault.chain import AuditKey
from vault.envelope import Context
from vault.expiry import state_of
from vault.keys import Key, Pending
from vault.leases import SealedKey
from vault.store import audit, keyring
from vault.store.tables import KEYS, LIVE, NAME, REVOKED_GRANTS, VERSIONS, WAITS


def _active() -> ColumnElement[bool]:
    return (VERSIONS.c.key_id == KEYS.c.id) & (VERSIONS.c.version == KEYS.c.active_version)


_IS_REVOKED = exists().where(REVOKED_GRANTS.c.grant_id == bindparam("grant_id", type_=Uuid))


def _leasable(version: ColumnElement[bool]) -> Select[Any]:
    """Select such a version of the key, or of the newest one: ids are UUIDv7, the greatest is the newest."""
    key_id = bindparam("key_id", type_=Uuid)
    mine = (KEYS.c.workspace_id == bindparam("workspace_id")) & (KEYS.c.provider == bindparam("provider"))
    return (
        select(
            *(KEYS.c.id, VERSIONS.c.version, KEYS.c.revision, VERSIONS.c.sealed, VERSIONS.c.expires_at),
            _IS_REVOKED.label("grant_revoked"),
        )
        .join(VERSIONS, version)
        .where(mine & LIVE & (key_id.is_(None) | (KEYS.c.id == key_id)))
        .order_by(KEYS.c.id.desc())
        .limit(1)
    )


# What every lease asks, built once.
_ACTIVE = _leasable(_active())
_PENDING = _leasable((VERSIONS.c.key_id == KEYS.c.id) & (VERSIONS.c.version == KEYS.c.latest_version) & WAITS)
_REVOKED = select(_IS_REVOKED)


class Transaction:
    """One transaction; the domain's Protocols say what each method promises."""

    def __init__(self, connection: AsyncConnection, audit_key: AuditKey | None) -> None:
        self._connection = connection
        self._audit_key = audit_key

    async def next_version(self, key: Key) -> Key:
        """Insert the key, or claim the next version of the live one that has its name."""
        statement = (
            upsert(KEYS)
            .values(asdict(key))
            .on_conflict_do_update(
                index_elements=NAME,
                index_where=LIVE,
                set_={"latest_version": KEYS.c.latest_version + 1, "revision": KEYS.c.revision + 1},
            )
        )
        claimed = await self._connection.execute(statement.returning(*KEYS.c))
        return Key(**claimed.mappings().one())

    async def add_pending(self, key: Key, sealed: bytes, preview: str, expires_at: int | None) -> None:
        """Insert the latest version's row."""
        await self._connection.execute(
            insert(VERSIONS).values(
                key_id=key.id,
                version=key.latest_version,
                sealed=sealed,
                preview=preview,
                verified=False,
                created_at=now_ms(),
                expires_at=expires_at,
            )
        )

    async def locked(self, workspace_id: UUID, key_id: UUID) -> Key | None:
        """Select the key for update."""
        mine = (KEYS.c.workspace_id == workspace_id) & (KEYS.c.id == key_id)
        found = await self._connection.execute(select(KEYS).where(mine).with_for_update())
        row = found.mappings().one_or_none()
        return None if row is None else Key(**row)

    async def activate(self, key: Key, *, verified: bool) -> Key | None:
        """Swap the latest version in, if it waits, and wipe the older ones."""
        now = now_ms()
        swap = update(VERSIONS).where(_is(key, key.latest_version) & WAITS)
        swapped = await self._connection.execute(swap.values(activated_at=now, verified=verified))
        if swapped.rowcount == 0:
            return None
        older = (VERSIONS.c.key_id == key.id) & (VERSIONS.c.version < key.latest_version)
        retired = update(VERSIONS).where(older & VERSIONS.c.retired_at.is_(None))
        await self._connection.execute(retired.values(sealed=None, retired_at=now))
        return await self._change(replace(key, active_version=key.latest_version))

    async def deactivate(self, key: Key) -> Key:
        """Set the time of the deactivation."""
        return await self._change(replace(key, deactivated_at=now_ms()))

    async def _change(self, key: Key) -> Key:
        """Write the key's state under its next revision."""
        changed = replace(key, revision=key.revision + 1)
        await self._connection.execute(update(KEYS).where(KEYS.c.id == key.id).values(asdict(changed)))
        return changed

    async def erase(self, key: Key, version: int) -> bool:
        """Delete the version's row if it waits, and the key's if no version is left."""
        erased = await self._connection.execute(delete(VERSIONS).where(_is(key, version) & WAITS))
        childless = ~exists().where(VERSIONS.c.key_id == key.id)
        await self._connection.execute(delete(KEYS).where((KEYS.c.id == key.id) & childless))
        return erased.rowcount > 0

    async def pending_before(self, created_at: int) -> list[Pending]:
        """Select what waits since before that time."""
        stale = select(KEYS.c.workspace_id, VERSIONS.c.key_id, VERSIONS.c.version).join(KEYS)
        found = await self._connection.execute(stale.where(WAITS & (VERSIONS.c.created_at < created_at)))
        return [Pending(*row) for row in found]

    async def views(self, workspace_id: UUID) -> list[KeyView]:
        """Select the workspace's keys with their active version."""
        statement = (
            select(
                *(KEYS.c[name] for name in ("id", "provider", "name", "created_at")),
                *(VERSIONS.c[name] for name in ("preview", "version", "verified", "expires_at")),
                LIVE.label("is_active"),
            )
            .join(VERSIONS, _active())
            .where(KEYS.c.workspace_id == workspace_id)
            .order_by(KEYS.c.id)
        )
        now = now_ms()
        return [_view(row, now) for row in (await self._connection.execute(statement)).mappings()]

    async def versions(self, key_id: UUID) -> list[KeyVersion]:
        """Select the key's versions."""
        statement = select(VERSIONS).where(VERSIONS.c.key_id == key_id).order_by(VERSIONS.c.version)
        return [_version(row) for row in (await self._connection.execute(statement)).mappings()]

    async def active(
        self, workspace_id: UUID, provider: str, key_id: UUID | None, grant_id: UUID | None = None
    ) -> SealedKey | None:
        """Select the active version of the key, or of the newest one."""
        return await self._leasable(_ACTIVE, workspace_id, provider, key_id, grant_id)

    async def pending(
        self, workspace_id: UUID, provider: str, key_id: UUID, grant_id: UUID | None = None
    ) -> SealedKey | None:
        """Select the version that waits; of several, the newest."""
        return await self._leasable(_PENDING, workspace_id, provider, key_id, grant_id)

    async def _leasable(
        self, statement: Select[Any], workspace_id: UUID, provider: str, key_id: UUID | None, grant_id: UUID | None
    ) -> SealedKey | None:
        wanted = {"workspace_id": workspace_id, "provider": provider, "key_id": key_id, "grant_id": grant_id}
        row = (await self._connection.execute(statement, wanted)).one_or_none()
        if row is None:
            return None
        context = Context(workspace_id, provider, row.id, row.version)
        return SealedKey(context, row.revision, row.sealed, row.expires_at, row.grant_revoked)

    async def primary_kek(self) -> int:
        """Select it for share: until the end of this transaction it stays the primary one."""
        return await keyring.primary_kek(self._connection)

    async def revoke_grant(self, workspace_id: UUID, grant_id: UUID) -> bool:
        """Insert the grant unless it is there."""
        row = upsert(REVOKED_GRANTS).values(grant_id=grant_id, workspace_id=workspace_id, revoked_at=now_ms())
        return (await self._connection.execute(row.on_conflict_do_nothing())).rowcount > 0

    async def forget_revoked(self, revoked_before: int) -> None:
        """Delete the grants that were revoked before."""
        await self._connection.execute(delete(REVOKED_GRANTS).where(REVOKED_GRANTS.c.revoked_at < revoked_before))

    async def revoked(self, grant_id: UUID) -> bool:
        """Select whether the grant is there."""
        return bool(await self._connection.scalar(_REVOKED, {"grant_id": grant_id}))

    async def audit(self, entry: AuditEntry) -> None:
        """Append the entry to its chain: last in a transaction, since the chain is locked from then on."""
        assert self._audit_key is not None, "audit_with() first"
        await audit.append(self._connection, self._audit_key, entry)


def _view(row: RowMapping, now: int) -> KeyView:
    return KeyView(**row, state=state_of(live=row["is_active"], expires_at=row["expires_at"], now=now))


def _version(row: RowMapping) -> KeyVersion:
    live: Literal["active", "pending"] = "pending" if row["activated_at"] is None else "active"
    return KeyVersion(**row, state="retired" if row["retired_at"] else live)


def _is(key: Key, version: int) -> ColumnElement[bool]:
    return (VERSIONS.c.key_id == key.id) & (VERSIONS.c.version == version)
