"""The vault's tables are what its migrations make of them."""

from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.migrations import catalogue, check_rules
from typer.testing import CliRunner

from common.engines.postgres import Postgres
from common.errors import SchemaMismatch
from vault.command.app import app
from vault.migrations import v0001_baseline
from vault.store import Store
from vault.store.audit import METADATA as AUDIT
from vault.store.schema import SCHEMA
from vault.store.tables import METADATA

VERSIONS = "vault_schema_version"


def test_the_migrations_keep_to_the_rules() -> None:
    check_rules(SCHEMA)


async def test_the_migrations_make_the_tables_that_the_code_knows(database: str, postgres: Postgres) -> None:
    models = postgres.url(name := f"test_{uuid4().hex}")
    await postgres.create_database(name)
    engine = create_async_engine(models)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
        await connection.run_sync(AUDIT.create_all)
    await engine.dispose()
    applied = await SCHEMA.bring_up(database)
    assert applied[0] == "0001 The first tables."
    assert applied[-1].startswith(SCHEMA.head)
    assert await catalogue(database, without=VERSIONS) == await catalogue(models, without="")


async def test_tables_of_a_build_from_before_there_were_migrations_are_brought_up(
    database: str, sql: asyncpg.Connection
) -> None:
    for statement in v0001_baseline.STATEMENTS:
        await sql.execute(statement)
    assert (await SCHEMA.bring_up(database))[0] == "0001 The first tables."


async def test_a_vault_that_may_not_migrate_says_what_to_do(database: str) -> None:
    store = Store(database)
    with pytest.raises(SchemaMismatch, match=r"has no tables yet, .*: run `python -m vault migrate` with it first"):
        await store.prepare(migrate=False)
    await SCHEMA.bring_up(database)
    await store.prepare(migrate=False)
    assert await store.keks() == []
    await store.close()


def test_the_command_says_what_it_applied(database: str) -> None:
    told = [CliRunner().invoke(app, ["migrate"], env={"DATABASE_URL": database}) for _ in range(2)]
    assert [result.exit_code for result in told] == [0, 0], told[0].output
    assert told[0].stdout.startswith("applied 0001 The first tables.\n")
    assert told[1].stdout == "nothing to do: the database is up to date\n"
