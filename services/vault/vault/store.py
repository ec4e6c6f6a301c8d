"""Keys, versions and the audit in Postgres."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    Uuid,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from common.contracts.credentials_v1 import KeyView
from common.errors import InvalidRequest, TallyrunError, Unavailable
from common.ids import now_ms
from vault.audit import AuditEntry
from vault.envelope import Context
from vault.keys import Key, Pending
from vault.leases import SealedKey
from vault.master_key import KekRecord

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
    Column("salt", LargeBinary, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
)

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
    Column("preview", Text, nullable=False),
    Column("verified", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("activated_at", BigInteger),
)
_WAITS = _VERSIONS.c.activated_at.is_(None)
Index("key_versions_pending", _VERSIONS.c.created_at, postgresql_where=_WAITS)

_REVOKED_GRANTS = Table(
    "revoked_grants",
    _METADATA,
    Column("grant_id", Uuid, primary_key=True),
    Column("workspace_id", Uuid, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
)

_AUDIT = Table(
    "audit",
    _METADATA,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("workspace_id", Uuid),
    Column("provider", Text),
    Column("key_id", Uuid),  # no foreign key: what was erased stays in the audit
    Column("version", Integer),
    Column("grant_id", Uuid),
    Column("operation", Text),
)
Index("audit_workspace", _AUDIT.c.workspace_id, _AUDIT.c.id)


class Transaction:
    """One transaction; the domain's Protocols say what each method promises."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

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

    async def add_pending(self, key: Key, sealed: bytes, preview: str) -> None:
        """Insert the latest version's row."""
        await self._connection.execute(
            insert(_VERSIONS).values(
                key_id=key.id,
                version=key.latest_version,
                sealed=sealed,
                preview=preview,
                verified=False,
                created_at=now_ms(),
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
        swap = update(_VERSIONS).where(_is(key, key.latest_version) & _WAITS)
        swapped = await self._connection.execute(swap.values(activated_at=now_ms(), verified=verified))
        if swapped.rowcount == 0:
            return None
        older = (_VERSIONS.c.key_id == key.id) & (_VERSIONS.c.version < key.latest_version)
        await self._connection.execute(update(_VERSIONS).where(older).values(sealed=None))
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
                *(_VERSIONS.c[name] for name in ("preview", "version", "verified")),
                _LIVE.label("is_active"),
            )
            .join(_VERSIONS, _active())
            .where(_KEYS.c.workspace_id == workspace_id)
            .order_by(_KEYS.c.id)
        )
        return [KeyView(**row) for row in (await self._connection.execute(statement)).mappings()]

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
            select(_KEYS.c.id, _VERSIONS.c.version, _KEYS.c.revision, _VERSIONS.c.sealed)
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
        return SealedKey(Context(workspace_id, provider, row.id, row.version), row.revision, row.sealed)

    async def revoke_grant(self, workspace_id: UUID, grant_id: UUID) -> bool:
        """Insert the grant unless it is there."""
        row = upsert(_REVOKED_GRANTS).values(grant_id=grant_id, workspace_id=workspace_id, revoked_at=now_ms())
        return (await self._connection.execute(row.on_conflict_do_nothing())).rowcount > 0

    async def revoked(self, grant_id: UUID) -> bool:
        """Select whether the grant is there."""
        there = select(exists().where(_REVOKED_GRANTS.c.grant_id == grant_id))
        return bool(await self._connection.scalar(there))

    async def audit(self, entry: AuditEntry) -> None:
        """Insert the entry."""
        await self._connection.execute(insert(_AUDIT).values(asdict(entry)))


def _is(key: Key, version: int) -> ColumnElement[bool]:
    return (_VERSIONS.c.key_id == key.id) & (_VERSIONS.c.version == version)


def _active() -> ColumnElement[bool]:
    return (_VERSIONS.c.key_id == _KEYS.c.id) & (_VERSIONS.c.version == _KEYS.c.active_version)


class Store:
    """The vault's database. It connects on first use; close it at the end."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(
            url,
            pool_pre_ping=True,
            hide_parameters=True,  # errors are logged, and would show what was to be stored
            pool_timeout=CONNECT_SECONDS,
            connect_args={"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS},
        )

    async def prepare(self) -> None:
        """Create the tables that are missing."""
        async with self._connection() as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            await connection.run_sync(_METADATA.create_all)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def ping(self) -> None:
        """Raise `Unavailable` unless the database answers."""
        async with self._connection() as connection:
            await connection.execute(select(1))

    async def kek(self, version: int) -> KekRecord | None:
        """Return what is known of that key-encryption key."""
        async with self._connection() as connection:
            row = (await connection.execute(select(_KEKS).where(_KEKS.c.version == version))).one_or_none()
        return None if row is None else KekRecord(*row)

    async def keep_kek(self, record: KekRecord) -> KekRecord:
        """Insert the record unless its version has one; return the one that is kept."""
        async with self._connection() as connection:
            await connection.execute(upsert(_KEKS).values(asdict(record)).on_conflict_do_nothing())
            kept = await connection.execute(select(_KEKS).where(_KEKS.c.version == record.version))
            return KekRecord(*kept.one())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commit at the end of the block, or roll back if it raises; `Unavailable` where the database is away."""
        async with self._connection() as connection:
            yield Transaction(connection)

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
