"""A service's tables in Postgres, made by numbered migrations: forward only, and by one migrator at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Column, Connection, MetaData, String, Table, func, inspect, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from common.errors import SchemaMismatch

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
TURN_SECONDS = 0.2
"""How often a migrator that waits for another looks again. It does not wait inside a statement: an index that is
built concurrently waits for every statement that runs."""

TABLE_SECONDS = 3.0
"""How long a migration waits for a table that is in use: whoever comes behind it waits as long."""

TRIES = 20
LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True)
class Version:
    """What a database says of its tables: their revision, and the oldest version of the code that it still serves.

    Both are numbers of migrations, of four digits each, so that they compare as text.
    """

    revision: str
    oldest_served: str


@dataclass(frozen=True)
class Schema:
    """The tables of one service, as the migrations in this folder make them.

    A migration names the oldest code that still works on what it leaves behind: the one before, unless it takes
    something away (see docs/operate/upgrade.md). Migrators of one process take turns by the caller's care: Alembic
    keeps its context in a global.
    """

    service: str
    folder: Path

    async def prepare(self, url: URL | str, *, migrate: bool) -> None:
        """Bring the tables up if that is this process's task; raise `SchemaMismatch` unless they serve this version."""
        if migrate:
            await self.bring_up(url)
        else:
            async with _connected(url) as connection:
                await self._check(connection)

    async def bring_up(self, url: URL | str) -> list[str]:
        """Apply what is missing, and return which migrations that were; whoever comes meanwhile waits.

        Tables that are newer stay as they are; raises `SchemaMismatch` where they do not serve this version.
        """
        async with _connected(url) as connection, self._turn(connection):
            found = await connection.run_sync(self._found)
            await connection.commit()
            applied = await self._apply(connection) if found is None or found.revision < self.head else []
            await self._check(connection)
            return applied

    async def _check(self, connection: AsyncConnection) -> None:
        fault = self.fault(await connection.run_sync(self._found))
        if fault is not None:
            raise SchemaMismatch(fault)

    def fault(self, found: Version | None) -> str | None:
        """Return what is wrong with tables of this version (None: there are none), and what to do about it."""
        if found is None or found.revision < self.head:
            stands = "has no tables yet" if found is None else f"is at {found.revision}"
            return (
                f"the {self.service}'s database {stands}, and this version needs {self.head}: run"
                f" `python -m {self.service} migrate` with it first, or set MIGRATE_ON_START=true"
            )
        if found.oldest_served > self.head:
            return (
                f"the {self.service}'s database is at {found.revision}, which serves versions from"
                f" {found.oldest_served} on, and this one is of {self.head}: start a newer version"
            )
        return None

    @cached_property
    def head(self) -> str:
        """The revision that this version of the code makes and needs."""
        head = self._scripts.get_current_head()
        assert head is not None, f"no migrations in {self.folder}"
        return head

    @cached_property
    def _scripts(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self._config())

    def _config(self) -> Config:
        config = Config()
        for name, folder in (("script_location", Path(__file__).parent), ("version_locations", self.folder)):
            config.set_main_option(name, str(folder).replace("%", "%%"))
        config.set_main_option("path_separator", "newline")
        return config

    @cached_property
    def _table(self) -> Table:
        """Alembic's own table, with a column of ours."""
        return Table(
            f"{self.service}_schema_version",
            MetaData(),
            Column("version_num", String(32), primary_key=True),
            Column("oldest_served", String(32), nullable=False, server_default="0001"),
        )

    def _found(self, connection: Connection) -> Version | None:
        if not inspect(connection).has_table(self._table.name):
            return None
        row = connection.execute(select(self._table.c.version_num, self._table.c.oldest_served)).one_or_none()
        return None if row is None else Version(*row)

    @asynccontextmanager
    async def _turn(self, connection: AsyncConnection) -> AsyncIterator[None]:
        """Hold the lock of this service's migrations; the database takes it back from whoever is gone."""
        lock = func.hashtext(self._table.name)
        waited = False
        while not await connection.scalar(select(func.pg_try_advisory_lock(lock))):
            await connection.commit()
            if not waited:
                log.info("another process migrates the %s's database; waiting for it", self.service)
            waited = True
            await asyncio.sleep(TURN_SECONDS)
        await connection.commit()
        yield

    async def _apply(self, connection: AsyncConnection) -> list[str]:
        """Apply what is missing, each migration in a transaction of its own; a table in use is waited for, politely."""
        applied: list[str] = []
        for tried in range(1, TRIES + 1):
            try:
                await connection.run_sync(self._upgrade, applied)
                break
            except DBAPIError as error:
                await connection.rollback()
                if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or tried == TRIES:
                    raise
                log.warning("a table of the %s is in use; the migration tries again", self.service)
        return applied

    def _upgrade(self, connection: Connection, applied: list[str]) -> None:
        def note(step: Any, **_: Any) -> None:
            script = self._scripts.get_revision(step.up_revision_id)
            connection.execute(update(self._table).values(oldest_served=script.module.oldest_served))
            applied.append(f"{script.revision} {script.doc}")

        self._table.create(connection, checkfirst=True)
        connection.execute(text(f"SET lock_timeout = '{TABLE_SECONDS}s'"))
        connection.commit()
        config = self._config()
        config.attributes["options"] = {
            "connection": connection,
            "version_table": self._table.name,
            "transaction_per_migration": True,
            "on_version_apply": note,
        }
        command.upgrade(config, "head")


@asynccontextmanager
async def _connected(url: URL | str) -> AsyncIterator[AsyncConnection]:
    """Yield a connection of its own: a migration takes longer than the service's statements may."""
    engine = create_async_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"timeout": CONNECT_SECONDS, "command_timeout": None},
    )
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()
