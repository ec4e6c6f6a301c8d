"""Keys, versions and the audit in Postgres."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    Select,
    Table,
    Text,
    Uuid,
    column,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from common.contracts.credentials_v1 import KeyVersion, KeyView
from common.errors import InvalidRequest, TallyrunError, Unavailable
from common.ids import now_ms
from vault.audit import AuditEntry
from vault.audit_key import CONTEXT as AUDIT_KEY
from vault.chain import AuditKey, Head
from vault.envelope import Context
from vault.expiry import state_of
from vault.keyring import KekRecord, State
from vault.keys import Key, Pending
from vault.leases import SealedKey
from vault.rewrap import Place, Stored, Swap
from vault.store import audit
from vault.store.audit import AuditReader

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
COMMAND_SECONDS = 10
SCHEMA_LOCK = 0x7661_756C
"""'vaul': replicas that start together take turns at creating tables."""

DATA_EXCEPTION = "22"
"""The class of SQLSTATEs that blame the values sent, such as a NUL character in a text."""

_METADATA = MetaData()

_KEKS = Table(
    "keks",
    _METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("check", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
_IS_PRIMARY = _KEKS.c.state == "primary"
Index("keks_primary", _KEKS.c.state, unique=True, postgresql_where=_IS_PRIMARY)

_KEYS = Table(
    "keys",
    _METADATA,
    Column("id", Uuid, primary_key=True),
    Column("workspace_id", Uuid, nullable=False),
    Column("provider", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("latest_version", Integer, nullable=False),
    Column("active_version", Integer),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deactivated_at", BigInteger),
)
_LIVE = _KEYS.c.deactivated_at.is_(None)
_NAME = (_KEYS.c.workspace_id, _KEYS.c.provider, _KEYS.c.name)
Index("keys_live_name", *_NAME, unique=True, postgresql_where=_LIVE)
Index("keys_newest", _KEYS.c.workspace_id, _KEYS.c.id)

_VERSIONS = Table(
    "key_versions",
    _METADATA,
    Column("key_id", ForeignKey(_KEYS.c.id), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("sealed", LargeBinary),  # NULL: replaced, and wiped
    # The envelope's own bytes say which: a column of its own could say something else.
    Column("kek_version", Integer, Computed("get_byte(sealed, 1) * 256 + get_byte(sealed, 2)", persisted=True)),
    Column("preview", Text, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("activated_at", BigInteger),
    Column("retired_at", BigInteger),
    Column("expires_at", BigInteger),
)
_WAITS = _VERSIONS.c.activated_at.is_(None)
Index("key_versions_pending", _VERSIONS.c.created_at, postgresql_where=_WAITS)
Index("key_versions_kek", _VERSIONS.c.kek_version)

_REVOKED_GRANTS = Table(
    "revoked_grants",
    _METADATA,
    Column("grant_id", Uuid, primary_key=True),
    Column("workspace_id", Uuid, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
)


class Transaction:
    """One transaction; the domain's Protocols say what each method promises."""

    def __init__(self, connection: AsyncConnection, audit_key: AuditKey | None) -> None:
        self._connection = connection
        self._audit_key = audit_key

    async def next_version(self, key: Key) -> Key:
        """Insert the key, or claim the next version of the live one that has its name."""
        statement = (
            upsert(_KEYS)
            .values(asdict(key))
            .on_conflict_do_update(
                index_elements=_NAME,
                index_where=_LIVE,
                set_={"latest_version": _KEYS.c.latest_version + 1, "revision": _KEYS.c.revision + 1},
            )
        )
        claimed = await self._connection.execute(statement.returning(*_KEYS.c))
        return Key(**claimed.mappings().one())

    async def add_pending(self, key: Key, sealed: bytes, preview: str, expires_at: int | None) -> None:
        """Insert the latest version's row."""
        await self._connection.execute(
            insert(_VERSIONS).values(
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
        mine = (_KEYS.c.workspace_id == workspace_id) & (_KEYS.c.id == key_id)
        found = await self._connection.execute(select(_KEYS).where(mine).with_for_update())
        row = found.mappings().one_or_none()
        return None if row is None else Key(**row)

    async def activate(self, key: Key, *, verified: bool) -> Key | None:
        """Swap the latest version in, if it waits, and wipe the older ones."""
        now = now_ms()
        swap = update(_VERSIONS).where(_is(key, key.latest_version) & _WAITS)
        swapped = await self._connection.execute(swap.values(activated_at=now, verified=verified))
        if swapped.rowcount == 0:
            return None
        older = (_VERSIONS.c.key_id == key.id) & (_VERSIONS.c.version < key.latest_version)
        retired = update(_VERSIONS).where(older & _VERSIONS.c.retired_at.is_(None))
        await self._connection.execute(retired.values(sealed=None, retired_at=now))
        return await self._change(replace(key, active_version=key.latest_version))

    async def deactivate(self, key: Key) -> Key:
        """Set the time of the deactivation."""
        return await self._change(replace(key, deactivated_at=now_ms()))

    async def _change(self, key: Key) -> Key:
        """Write the key's state under its next revision."""
        changed = replace(key, revision=key.revision + 1)
        await self._connection.execute(update(_KEYS).where(_KEYS.c.id == key.id).values(asdict(changed)))
        return changed

    async def erase(self, key: Key, version: int) -> bool:
        """Delete the version's row if it waits, and the key's if no version is left."""
        erased = await self._connection.execute(delete(_VERSIONS).where(_is(key, version) & _WAITS))
        childless = ~exists().where(_VERSIONS.c.key_id == key.id)
        await self._connection.execute(delete(_KEYS).where((_KEYS.c.id == key.id) & childless))
        return erased.rowcount > 0

    async def pending_before(self, created_at: int) -> list[Pending]:
        """Select what waits since before that time."""
        stale = select(_KEYS.c.workspace_id, _VERSIONS.c.key_id, _VERSIONS.c.version).join(_KEYS)
        found = await self._connection.execute(stale.where(_WAITS & (_VERSIONS.c.created_at < created_at)))
        return [Pending(*row) for row in found]

    async def views(self, workspace_id: UUID) -> list[KeyView]:
        """Select the workspace's keys with their active version."""
        statement = (
            select(
                *(_KEYS.c[name] for name in ("id", "provider", "name", "created_at")),
                *(_VERSIONS.c[name] for name in ("preview", "version", "verified", "expires_at")),
                _LIVE.label("is_active"),
            )
            .join(_VERSIONS, _active())
            .where(_KEYS.c.workspace_id == workspace_id)
            .order_by(_KEYS.c.id)
        )
        now = now_ms()
        return [_view(row, now) for row in (await self._connection.execute(statement)).mappings()]

    async def versions(self, key_id: UUID) -> list[KeyVersion]:
        """Select the key's versions."""
        statement = select(_VERSIONS).where(_VERSIONS.c.key_id == key_id).order_by(_VERSIONS.c.version)
        return [_version(row) for row in (await self._connection.execute(statement)).mappings()]

    async def active(self, workspace_id: UUID, provider: str, key_id: UUID | None) -> SealedKey | None:
        """Select the active version of the key, or of the newest one."""
        return await self._leasable(_active(), workspace_id, provider, key_id)

    async def pending(self, workspace_id: UUID, provider: str, key_id: UUID) -> SealedKey | None:
        """Select the version that waits; of several, the newest."""
        newest = (_VERSIONS.c.key_id == _KEYS.c.id) & (_VERSIONS.c.version == _KEYS.c.latest_version)
        return await self._leasable(newest & _WAITS, workspace_id, provider, key_id)

    async def _leasable(
        self, version: ColumnElement[bool], workspace_id: UUID, provider: str, key_id: UUID | None
    ) -> SealedKey | None:
        statement: Select[Any] = (
            select(_KEYS.c.id, _VERSIONS.c.version, _KEYS.c.revision, _VERSIONS.c.sealed, _VERSIONS.c.expires_at)
            .join(_VERSIONS, version)
            .where((_KEYS.c.workspace_id == workspace_id) & (_KEYS.c.provider == provider) & _LIVE)
            .order_by(_KEYS.c.id.desc())  # ids are UUIDv7: the greatest is the newest
            .limit(1)
        )
        if key_id is not None:
            statement = statement.where(_KEYS.c.id == key_id)
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            return None
        context = Context(workspace_id, provider, row.id, row.version)
        return SealedKey(context, row.revision, row.sealed, row.expires_at)

    async def primary_kek(self) -> int:
        """Select it for share: until the end of this transaction it stays the primary one."""
        return await _primary_kek(self._connection)

    async def revoke_grant(self, workspace_id: UUID, grant_id: UUID) -> bool:
        """Insert the grant unless it is there."""
        row = upsert(_REVOKED_GRANTS).values(grant_id=grant_id, workspace_id=workspace_id, revoked_at=now_ms())
        return (await self._connection.execute(row.on_conflict_do_nothing())).rowcount > 0

    async def revoked(self, grant_id: UUID) -> bool:
        """Select whether the grant is there."""
        there = select(exists().where(_REVOKED_GRANTS.c.grant_id == grant_id))
        return bool(await self._connection.scalar(there))

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
    return (_VERSIONS.c.key_id == key.id) & (_VERSIONS.c.version == version)


def _active() -> ColumnElement[bool]:
    return (_VERSIONS.c.key_id == _KEYS.c.id) & (_VERSIONS.c.version == _KEYS.c.active_version)


class KeyringTransaction:
    """One transaction over the keyring and what is sealed under it; the domain's Protocols say what each promises."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def primary_kek(self) -> int:
        """Select it for share."""
        return await _primary_kek(self._connection)

    async def locked_keks(self) -> list[KekRecord]:
        """Select all versions for update: nobody seals meanwhile."""
        return await _keks(self._connection, select(_KEKS).with_for_update())

    async def set_kek_state(self, version: int, state: State) -> None:
        """Write the version's state."""
        await self._connection.execute(update(_KEKS).where(_KEKS.c.version == version).values(state=state))

    async def kek_uses(self) -> dict[int, int]:
        """Count what is sealed under each version."""
        return await _kek_uses(self._connection)

    async def under_other_keks(self, primary: int, after: Place, limit: int) -> list[Stored]:
        """Select what is sealed under another version and lies behind that place, in the order of places."""
        place = tuple_(_VERSIONS.c.key_id, _VERSIONS.c.version)
        statement = (
            select(_KEYS.c.workspace_id, _KEYS.c.provider, _VERSIONS.c.key_id, _VERSIONS.c.version, _VERSIONS.c.sealed)
            .join(_KEYS)
            .where((_VERSIONS.c.kek_version != primary) & (place > tuple_(*after)))
            .where(_KEYS.c.id >= after.key_id)  # the planner does not conclude it, and would begin at the first key
            .order_by(_VERSIONS.c.key_id, _VERSIONS.c.version)
            .limit(limit)
        )
        return [Stored(Context(*row[:4]), row.sealed) for row in await self._connection.execute(statement)]

    async def swap_sealed(self, swaps: Sequence[Swap]) -> int:
        """Replace each envelope that is still the one that was read; return how many were."""
        rows = [(*swap.old.place, swap.old.sealed, swap.new) for swap in swaps]
        columns = (column("key_id", Uuid), column("version", Integer), column("old", LargeBinary))
        given = values(*columns, column("new", LargeBinary), name="given").data(rows)
        same = (_VERSIONS.c.key_id == given.c.key_id) & (_VERSIONS.c.version == given.c.version)
        swap = update(_VERSIONS).where(same & (_VERSIONS.c.sealed == given.c.old)).values(sealed=given.c.new)
        return (await self._connection.execute(swap)).rowcount


async def _primary_kek(connection: AsyncConnection) -> int:
    statement = select(_KEKS.c.version).where(_IS_PRIMARY).with_for_update(read=True)
    # Who waited for a promotion finds no row in a snapshot from before it: the next statement sees the new one.
    for _ in range(2):
        if (version := (await connection.execute(statement)).scalar_one_or_none()) is not None:
            return int(version)
    raise Unavailable("the keyring has no primary version", retry_after=1)


async def _keks(connection: AsyncConnection, statement: Select[Any]) -> list[KekRecord]:
    found = await connection.execute(statement.order_by(_KEKS.c.version))
    return [KekRecord(**row) for row in found.mappings()]


async def _kek_uses(connection: AsyncConnection) -> dict[int, int]:
    counted = select(_VERSIONS.c.kek_version, func.count()).where(_VERSIONS.c.kek_version.is_not(None))
    found = await connection.execute(counted.group_by(_VERSIONS.c.kek_version))
    return {int(version): int(uses) for version, uses in found}


class Store:
    """The vault's database. It connects on first use; close it at the end. `audit_with` before what is audited."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(
            url,
            pool_pre_ping=True,
            hide_parameters=True,  # errors are logged, and would show what was to be stored
            pool_timeout=CONNECT_SECONDS,
            connect_args={"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS},
        )
        self._audit_key: AuditKey | None = None

    async def prepare(self) -> None:
        """Create the tables that are missing."""
        async with self._connection() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            await connection.run_sync(_METADATA.create_all)
            await connection.run_sync(audit.METADATA.create_all)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def ping(self) -> None:
        """Raise `Unavailable` unless the database answers."""
        async with self._connection() as connection:
            await connection.execute(select(1))

    async def keks(self) -> list[KekRecord]:
        """Return every version of the key-encryption key, the oldest first."""
        async with self._connection() as connection:
            return await _keks(connection, select(_KEKS))

    async def add_kek(self, record: KekRecord) -> bool:
        """Insert the version; False if there is one of its number."""
        async with self._connection() as connection:
            added = await connection.execute(upsert(_KEKS).values(asdict(record)).on_conflict_do_nothing())
            return added.rowcount > 0

    async def kek_uses(self) -> dict[int, int]:
        """Return how many secrets are sealed under each version that has any."""
        async with self._connection() as connection:
            return await _kek_uses(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commit at the end of the block, or roll back if it raises; `Unavailable` where the database is away."""
        async with self._connection() as connection:
            yield Transaction(connection, self._audit_key)

    def audit_with(self, key: AuditKey) -> None:
        """Write the audit under this key from now on. Without one nothing that is audited can be done."""
        self._audit_key = key

    async def audit_key(self) -> bytes | None:
        """Return the sealed audit key, if it was drawn."""
        statement = select(_VERSIONS.c.sealed).where(_VERSIONS.c.key_id == AUDIT_KEY.key_id)
        async with self._connection() as connection:
            sealed: bytes | None = (await connection.execute(statement)).scalar()
        return sealed

    async def keep_audit_key(self, seal: Callable[[int], Awaitable[bytes]]) -> bytes:
        """Keep a sealed audit key unless there is one, sealed under the primary version; return the one that is kept.

        It is stored as a key that is nobody's and in no use, so that whatever is done to all sealed secrets (bringing
        them under a new master key above all) is done to it.
        """
        now = now_ms()
        key = {"id": AUDIT_KEY.key_id, "workspace_id": AUDIT_KEY.workspace_id, "provider": AUDIT_KEY.provider}
        state = {"latest_version": 1, "active_version": None, "revision": 1, "created_at": now, "deactivated_at": now}
        times = {"preview": "", "verified": False, "created_at": now, "activated_at": now}
        async with self._connection() as connection:
            sealed = await seal(await _primary_kek(connection))
            version = {"key_id": AUDIT_KEY.key_id, "version": AUDIT_KEY.version, "sealed": sealed}
            await connection.execute(upsert(_KEYS).values(name="", **key, **state).on_conflict_do_nothing())
            await connection.execute(upsert(_VERSIONS).values(**version, **times).on_conflict_do_nothing())
        return await self.audit_key() or sealed

    async def audit_heads(self) -> dict[UUID, Head]:
        """Return every chain's head."""
        async with self._connection() as connection:
            return await AuditReader(connection).heads()

    @asynccontextmanager
    async def audit_reader(self) -> AsyncIterator[AuditReader]:
        """Read the audit as it stands now, until the end of the block."""
        async with self._connection() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            yield AuditReader(connection)

    @asynccontextmanager
    async def keyring_transaction(self) -> AsyncIterator[KeyringTransaction]:
        """Commit at the end of the block, or roll back if it raises; `Unavailable` where the database is away."""
        async with self._connection() as connection:
            yield KeyringTransaction(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise _translated(error) from error


def _translated(error: SQLAlchemyError | OSError) -> TallyrunError:
    if isinstance(error, DBAPIError) and str(getattr(error.orig, "sqlstate", "")).startswith(DATA_EXCEPTION):
        return InvalidRequest("a field holds a value that cannot be stored")
    log.error("the database failed", extra={"kind": type(error).__name__, "reason": str(error)})
    return Unavailable("the vault's database does not answer", retry_after=2)
