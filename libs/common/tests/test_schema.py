"""Tables are brought up once, in steps that hold or never were, by whoever comes first."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from common import schema as schema_module
from common.errors import SchemaMismatch
from common.schema import Schema, Version

STEP = '''"""{doc}"""
import time
from pathlib import Path

from alembic import op

revision = "{number:04}"
down_revision = {before!r}
oldest_served = "{oldest}"


def upgrade() -> None:
    """Do it."""
    {body}
'''
TABLE = 'op.execute("CREATE TABLE people (id bigint PRIMARY KEY, name text NOT NULL)")'
COLUMN = 'op.execute("ALTER TABLE people ADD COLUMN age bigint NOT NULL DEFAULT 7")'
STUCK = f'{COLUMN}; Path("{{mark}}").touch(); time.sleep(60)'
MIGRATE = """
import asyncio, logging, sys
from pathlib import Path
from common.schema import Schema
logging.basicConfig(level="INFO")
print(asyncio.run(Schema("people", Path(sys.argv[1])).bring_up(sys.argv[2])))
"""


def step(folder: Path, number: int, body: str, oldest: str = "0001") -> None:
    before = f"{number - 1:04}" if number > 1 else None
    text = STEP.format(doc=f"Step {number}", number=number, before=before, oldest=oldest, body=body)
    (folder / f"v{number:04}_step.py").write_text(text)


def people(folder: Path) -> Schema:
    return Schema("people", folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    step(tmp_path, 1, TABLE)
    return tmp_path


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def migrator(folder: Path, database: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, str(folder), database, stdout=PIPE)


async def output_of(process: Process) -> str:
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


async def test_of_migrators_that_start_together_one_migrates_and_none_fails(folder: Path, database: str) -> None:
    step(folder, 2, COLUMN)
    processes = [await migrator(folder, database) for _ in range(3)]
    told = sorted([await output_of(process) for process in processes])
    assert told == ["['0001 Step 1', '0002 Step 2']", "[]", "[]"]


async def test_data_of_the_version_before_stays_and_its_code_goes_on(
    folder: Path, database: str, sql: asyncpg.Connection
) -> None:
    before = people(folder)
    await before.prepare(database, migrate=True)
    await sql.execute("INSERT INTO people VALUES (1, 'Ann')")
    newer = folder / "newer"
    newer.mkdir()
    for number, body in enumerate((TABLE, COLUMN), 1):
        step(newer, number, body)
    assert await people(newer).bring_up(database) == ["0002 Step 2"]
    await sql.execute("INSERT INTO people VALUES (2, 'Bob')")  # as the code before still does
    assert [tuple(row) for row in await sql.fetch("SELECT * FROM people")] == [(1, "Ann", 7), (2, "Bob", 7)]
    for migrate in (True, False):  # it also starts anew beside the newer one
        await before.prepare(database, migrate=migrate)


async def test_killed_in_the_middle_a_migration_never_was_and_the_next_goes_on(
    folder: Path, database: str, sql: asyncpg.Connection
) -> None:
    step(folder, 2, STUCK.format(mark=folder / "mark"))
    process = await migrator(folder, database)
    while not (folder / "mark").exists():
        await asyncio.sleep(0.02)
    waiting = asyncio.create_task(people(folder).bring_up(database))
    step(folder, 2, COLUMN)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert await waiting == ["0002 Step 2"]
    assert await sql.fetchval("SELECT count(*) FROM people") == 0
    assert await people(folder).bring_up(database) == []


async def test_a_table_in_use_is_waited_for_and_nobody_waits_behind_the_migration(
    folder: Path, database: str, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_module, "TABLE_SECONDS", 0.05)
    await people(folder).bring_up(database)
    step(folder, 2, COLUMN)
    async with sql.transaction():
        await sql.execute("LOCK TABLE people IN ACCESS SHARE MODE")
        migrating = asyncio.create_task(people(folder).bring_up(database))
        await asyncio.wait({migrating}, timeout=0.3)
        assert not migrating.done()
        other = await asyncpg.connect(database.replace("+asyncpg", ""))
        async with asyncio.timeout(1):
            assert await other.fetchval("SELECT count(*) FROM people") == 0
        await other.close()
    assert await migrating == ["0002 Step 2"]


async def test_whoever_finds_other_tables_than_it_needs_is_told_what_to_do(folder: Path, database: str) -> None:
    with pytest.raises(SchemaMismatch, match=r"has no tables yet, and this version needs 0001: run `python -m people"):
        await people(folder).prepare(database, migrate=False)
    await people(folder).prepare(database, migrate=True)
    newer = folder / "newer"
    newer.mkdir()
    for number, (body, oldest) in enumerate(((TABLE, "0001"), (COLUMN, "0001"), ("pass", "0002")), 1):
        step(newer, number, body, oldest)
    with pytest.raises(SchemaMismatch, match=r"is at 0001, and this version needs 0003: run .*MIGRATE_ON_START=true"):
        await people(newer).prepare(database, migrate=False)
    await people(newer).bring_up(database)
    for migrate in (True, False):
        with pytest.raises(SchemaMismatch, match=r"is at 0003, which serves versions from 0002 on.*start a newer"):
            await people(folder).prepare(database, migrate=migrate)


@pytest.mark.parametrize(("head", "oldest", "fits"), [(1, "0001", True), (1, "0002", False), (2, "0002", True)])
def test_newer_tables_are_good_for_the_versions_that_they_serve(
    tmp_path: Path, head: int, oldest: str, fits: bool
) -> None:
    for number in range(1, head + 1):
        step(tmp_path, number, "pass")
    assert (people(tmp_path).fault(Version("0003", oldest)) is None) is fits
