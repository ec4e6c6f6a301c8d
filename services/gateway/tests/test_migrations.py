"""The gateway's tables are what its migrations make of them."""

import os
import subprocess
import sys
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support.migrations import catalogue, check_rules

from common.engines.postgres import Postgres
from common.errors import SchemaMismatch
from gateway.migrations import v0001_baseline
from gateway.store import Store
from gateway.store.schema import SCHEMA
from gateway.store.tables import Base
from gateway.tokens import hashed

VERSIONS = "gateway_schema_version"


def test_the_migrations_keep_to_the_rules() -> None:
    check_rules(SCHEMA)


async def test_the_migrations_make_the_tables_that_the_code_knows(database: str, postgres: Postgres) -> None:
    models = postgres.url(name := f"test_{uuid4().hex}")
    await postgres.create_database(name)
    engine = create_async_engine(models)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
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


async def test_a_gateway_that_may_not_migrate_says_what_to_do(database: str, sql: asyncpg.Connection) -> None:
    store = Store(database)
    with pytest.raises(SchemaMismatch, match=r"has no tables yet, .*: run `python -m gateway migrate` with it first"):
        await store.start(hashed("secret"), migrate=False)
    await SCHEMA.bring_up(database)
    await store.start(hashed("secret"), migrate=False)
    assert await sql.fetchval("SELECT count(*) FROM workspaces") == 1
    await store.close()


def test_the_command_says_what_it_applied(database: str) -> None:
    environment = {**os.environ, "DATABASE_URL": database}
    command = [sys.executable, "-m", "gateway", "migrate"]
    told = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert told[0].stdout.startswith("applied 0001 The first tables.\n")
    assert told[1].stdout == "nothing to do: the database is up to date\n"
    assert [ended.stderr for ended in told] == ["", ""]
