"""A database of an earlier version is brought up to date, and so are its figures."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import pytest

from analytics import clickhouse as adapter
from analytics import ingest
from analytics.clickhouse import ClickHouse
from analytics.database import Table
from analytics.ingest import Ingest
from analytics.overview import Overviews
from analytics.sealer import Sealer
from common.admission import Admission
from common.contracts.runs_v1 import RunCompleted
from common.contracts.topics import DAY_MS
from common.identity import Verifier
from common.ids import new_id, now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]

SEALED_BEFORE = """\
INSERT INTO usage_hours (workspace_id, hour, provider, model, key_id, runs, executions, cost, version)
SELECT workspace_id, hour, provider, model, key_id, uniqExact(run_id), count(), sum(cost.total), 1
FROM runs FINAL GROUP BY workspace_id, hour, provider, model, key_id"""


EARLIER_TEXTS = Table("run_texts", ("workspace_id", "run_id", "execution_id", "accepted_at", "output", "response"))


async def test_repeats_that_were_counted_before_they_had_a_cost_get_one(
    clickhouse: tuple[str, str],
    verifier: Verifier,
    completed: Make,
    as_record: AsRecord,
    workspace: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrations = list(adapter._migrations())
    monkeypatch.setattr(adapter, "_migrations", lambda: iter(migrations[:2]))
    monkeypatch.setattr(ingest, "TEXTS", EARLIER_TEXTS)
    database = ClickHouse(*clickhouse)
    await database.migrate()
    run = completed(accepted_at=now_ms() - 3 * DAY_MS)
    again = run.model_copy(update={"execution_id": new_id(), "completed_at": run.completed_at + 1})
    await Ingest(database, Admission(verifier)).store([as_record(event) for event in (run, again)])
    for statement in (SEALED_BEFORE, "TRUNCATE TABLE dirty_hours"):
        await database._run(lambda statement=statement: database._client.command(statement))  # type: ignore[misc]

    monkeypatch.setattr(adapter, "_migrations", lambda: iter(migrations))
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
