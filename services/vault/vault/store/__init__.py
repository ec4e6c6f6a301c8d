"""The vault's database: what happens together or not at all, and the connections for it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from common.errors import InvalidRequest, TallyrunError, Unavailable
from common.ids import now_ms
from vault.audit_key import CONTEXT as AUDIT_KEY
from vault.chain import AuditKey, Head
from vault.keyring import KekRecord
from vault.store import keyring
from vault.store.audit import AuditReader
from vault.store.keyring import KeyringTransaction
from vault.store.keys import Transaction
from vault.store.schema import SCHEMA
from vault.store.tables import KEKS, KEYS, VERSIONS

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
COMMAND_SECONDS = 10
RECYCLE_SECONDS = 240
"""Less than what network devices leave an idle connection alone for, 350 s at the least of the large clouds."""

DATA_EXCEPTION = "22"
"""The class of SQLSTATEs that blame the values sent, such as a NUL character in a text."""


async def migrate(url: str) -> list[str]:
    """Bring the database up, and return which migrations were applied; raise `SchemaMismatch` or `Unavailable`."""
    try:
        return await SCHEMA.bring_up(url)
    except (SQLAlchemyError, OSError) as error:
        raise _translated(error) from error


class Store:
    """The vault's database. It connects on first use; close it at the end. `audit_with` before what is audited."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(
            url,
            # No ping before each use: it took a third of a lease. After a restart of the database one caller is
            # answered 503, and with that all connections from before are gone.
            pool_recycle=RECYCLE_SECONDS,
            hide_parameters=True,  # errors are logged, and would show what was to be stored
            pool_timeout=CONNECT_SECONDS,
            connect_args={"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS},
        )
        self._audit_key: AuditKey | None = None

    async def prepare(self, *, migrate: bool) -> None:
        """Make sure of the tables; raise `SchemaMismatch` where they may not be brought up (`migrate`) and must be."""
        try:
            await SCHEMA.prepare(self._engine.url, migrate=migrate)
        except (SQLAlchemyError, OSError) as error:
            raise _translated(error) from error

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
            return await keyring.keks(connection, select(KEKS))

    async def add_kek(self, record: KekRecord) -> bool:
        """Insert the version; False if there is one of its number."""
        async with self._connection() as connection:
            added = await connection.execute(upsert(KEKS).values(asdict(record)).on_conflict_do_nothing())
            return added.rowcount > 0

    async def kek_uses(self) -> dict[int, int]:
        """Return how many secrets are sealed under each version that has any."""
        async with self._connection() as connection:
            return await keyring.kek_uses(connection)

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
        statement = select(VERSIONS.c.sealed).where(VERSIONS.c.key_id == AUDIT_KEY.key_id)
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
            sealed = await seal(await keyring.primary_kek(connection))
            version = {"key_id": AUDIT_KEY.key_id, "version": AUDIT_KEY.version, "sealed": sealed}
            await connection.execute(upsert(KEYS).values(name="", **key, **state).on_conflict_do_nothing())
            await connection.execute(upsert(VERSIONS).values(**version, **times).on_conflict_do_nothing())
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
