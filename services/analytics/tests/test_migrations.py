"""A database of an earlier version is brought up to date, and so are its figures."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from uuid import UUID

import pytest

from analytics import ingest, schema
from analytics.clickhouse import ClickHouse
from analytics.database import Table
from analytics.ingest import Ingest
from analytics.overview import Overviews
from analytics.sealer import Sealer
from common.admission import Admission
from common.contracts.runs_v1 import RunCompleted
from common.contracts.topics import DAY_MS
from common.errors import SchemaMismatch
from common.identity import Verifier
from common.ids import new_id, now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]

SEALED_BEFORE = """\
INSERT INTO usage_hours (workspace_id, hour, provider, model, key_id, runs, executions, cost, version)
SELECT workspace_id, hour, provider, model, key_id, uniqExact(run_id), count(), sum(cost.total), 1
FROM runs FINAL GROUP BY workspace_id, hour, provider, model, key_id"""

SIGN_OF_LIFE = """\
SELECT toString(metadata_modification_time) FROM system.tables
WHERE database = currentDatabase() AND name = 'migrating'"""

EARLIER_TEXTS = Table("run_texts", ("workspace_id", "run_id", "execution_id", "accepted_at", "output", "response"))


async def test_repeats_that_were_counted_before_they_had_a_cost_get_one(
    clickhouse: tuple[str, str],
    verifier: Verifier,
    completed: Make,
    as_record: AsRecord,
    workspace: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrations = list(schema.migrations())
    monkeypatch.setattr(schema, "migrations", lambda: iter(migrations[:2]))
    monkeypatch.setattr(ingest, "TEXTS", EARLIER_TEXTS)
    database = ClickHouse(*clickhouse)
    await database.migrate()
    run = completed(accepted_at=now_ms() - 3 * DAY_MS)
    again = run.model_copy(update={"execution_id": new_id(), "completed_at": run.completed_at + 1})
    await Ingest(database, Admission(verifier)).store([as_record(event) for event in (run, again)])
    for statement in (SEALED_BEFORE, "TRUNCATE TABLE dirty_hours"):
        await database._run(lambda statement=statement: database._client.command(statement))  # type: ignore[misc]

    monkeypatch.setattr(schema, "migrations", lambda: iter(migrations))
    await database.migrate()
    await database.migrate()

    sealer = Sealer(database, lambda: True)
    assert [await sealer.seal(), await sealer.seal()] == [1, 0]
    totals = (await Overviews(database, now_ms).overview(workspace, "7d")).overview
    assert (totals.total_runs, totals.repeated_executions) == (1, 1)
    assert (totals.total_cost, totals.repeated_cost) == (Decimal("0.002"), Decimal("0.001"))
    later = Sealer(database, lambda: True, clock=lambda: now_ms() + 12 * 60_000)
    assert [await later.seal(), await later.seal()] == [1, 0]
    texts = await database._run(lambda: database._client.query("SELECT run_id, output FROM texts").result_rows)
    assert texts == [(run.run_id, "four")] * 2
    await database.close()


@pytest.fixture
async def starting(remote: ClickHouse) -> AsyncIterator[list[ClickHouse]]:
    """Replicas of which each finds that the database is not there yet."""
    name = f"test_{new_id().hex}"
    replicas = [ClickHouse(remote._dsn, name) for _ in range(4)]
    yield replicas
    for replica in replicas:
        await replica.close()


def test_each_script_has_a_number_of_its_own_and_serves_no_code_to_come() -> None:
    names = [name for name, _ in schema.migrations()]
    assert len({name[:4] for name in names}) == len(names)
    assert all(serves[1] <= name[:4] for name in names if (serves := schema.SERVES.search(name)))


async def test_of_those_that_start_together_one_migrates_and_none_fails(starting: list[ClickHouse]) -> None:
    names = [name for name, _ in schema.migrations()]
    assert sorted(await asyncio.gather(*(replica.migrate() for replica in starting))) == [[], [], [], names]
    await starting[0].prepare(migrate=False)


async def test_a_migrator_that_is_gone_is_waited_for_and_then_replaced(
    starting: list[ClickHouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = starting[0]
    with pytest.raises(SchemaMismatch, match=r"lacks 0001_runs.sql, .*: run `python -m analytics migrate`"):
        await first.prepare(migrate=False)
    monkeypatch.setattr(schema, "LOOK_SECONDS", 0.05)
    assert await first._run(lambda: first._whole_database().attempt("take_turn"))  # and never a sign of life
    waiting = asyncio.create_task(starting[1].migrate())
    assert (await asyncio.wait({waiting}, timeout=0.5))[1] == {waiting}
    monkeypatch.setattr(schema, "STALE_SECONDS", -1)
    assert await waiting == [name for name, _ in schema.migrations()]


async def test_a_migrator_at_work_gives_signs_of_life(
    starting: list[ClickHouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "BEAT_SECONDS", 0.05)
    first, work = starting[0], threading.Event()
    await first._run(first._whole_database)
    monkeypatch.setattr(schema, "migrations", lambda: iter([("0001_slow.sql", _once(work))]))
    migrating = asyncio.create_task(first.migrate())
    seen: set[str] = set()
    try:
        async with asyncio.timeout(30):
            while len(seen) < 3:
                found = await first._run(lambda: first._client.query(SIGN_OF_LIFE).result_rows)
                seen.update(time for (time,) in found)
    finally:
        work.set()
    assert await migrating == ["0001_slow.sql"]


def _once(work: threading.Event) -> Iterator[str]:
    """Yield a statement after the work is done."""
    work.wait()
    yield "SELECT 1"


async def test_tables_that_serve_newer_versions_only_end_the_start(
    starting: list[ClickHouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = list(schema.migrations())
    newer = [("0098_more.sql", ["SELECT 1"]), ("0099_less_serves_0098.sql", ["SELECT 1"])]
    monkeypatch.setattr(schema, "migrations", lambda: iter([*known, newer[0]]))
    await starting[0].migrate()
    monkeypatch.setattr(schema, "migrations", lambda: iter(known))
    for migrate in (True, False):
        await starting[1].prepare(migrate=migrate)
    monkeypatch.setattr(schema, "migrations", lambda: iter([*known, *newer]))
    await starting[0].migrate()
    monkeypatch.setattr(schema, "migrations", lambda: iter(known))
    for migrate in (True, False):
        with pytest.raises(SchemaMismatch, match=r"0099_less_serves_0098.sql, which serves versions from 0098 on"):
            await starting[1].prepare(migrate=migrate)


def test_the_command_says_what_it_applied(remote: ClickHouse) -> None:
    environment = {**os.environ, "CLICKHOUSE_DSN": remote._dsn, "CLICKHOUSE_DATABASE": f"test_{new_id().hex}"}
    command = [sys.executable, "-m", "analytics", "migrate"]
    told = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    assert told[0].stdout.splitlines() == [f"applied {name}" for name, _ in schema.migrations()]
    assert told[1].stdout == "nothing to do: the database is up to date\n"
