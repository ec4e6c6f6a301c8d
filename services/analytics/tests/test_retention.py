"""Texts go after their days and runs after their months; what they add up to stays."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from analytics.clickhouse import ClickHouse
from analytics.exports import Exports
from analytics.ingest import Refused
from analytics.overview import Overviews
from analytics.retention import OF_RUNS, Kept, retain
from analytics.settings import Settings
from common.contracts.event import Event
from common.contracts.runs_v1 import RunCompleted
from common.contracts.topics import DAY_MS
from common.contracts.usage_v1 import ExportAsked, UsageAsked
from common.errors import InvalidRequest
from common.ids import now_ms

Make = Callable[..., RunCompleted]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]

DAYS_OLD = (0, 20, 40, 100, 200)


@pytest.fixture
async def told(completed: Make, count: Store, workspace: UUID) -> list[RunCompleted]:
    runs = [completed(accepted_at=now_ms() - days * DAY_MS, batch_id="b", prompt_id="p") for days in DAYS_OLD]
    await count(runs)
    return runs


async def _left(database: ClickHouse, table: str) -> list[int]:
    """Let the engine drop what has expired; return how many days old the rest is."""

    def ask() -> Any:
        database._client.command(f"OPTIMIZE TABLE {table} FINAL")
        return database._client.query(f"SELECT accepted_at FROM {table} ORDER BY accepted_at DESC").result_rows

    return [round((now_ms() - at) / DAY_MS) for (at,) in await database._run(ask)]


async def test_texts_go_sooner_than_runs_and_sums_stay(
    told: list[RunCompleted], database: ClickHouse, workspace: UUID
) -> None:
    await retain(database, 30, 60)
    assert await _left(database, "texts") == [0, 20]
    for table in ("runs", "batch_runs"):
        left = await _left(database, table)
        assert left[:3] == [0, 20, 40]  # their months ended less than 60 days ago
        assert 200 not in left
    totals = (await Overviews(database, now_ms).overview(workspace, "1y")).overview
    assert totals.total_runs == len(told)
    pieces = [piece async for piece in Exports(database).file(workspace, ExportAsked(texts=True))]
    assert b"".join(pieces).count(b'"four"') == 2


async def test_it_is_changed_only_where_it_differs(
    database: ClickHouse, workspace: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    execute = database.execute

    async def counted(query: str, **parameters: Any) -> None:
        said.append(query)
        await execute(query, **parameters)

    monkeypatch.setattr(database, "execute", counted)
    for texts, runs, changes in (
        (90, None, ["retain_texts"]),
        (90, None, []),
        (90, 400, ["retain_runs"] * len(OF_RUNS)),
        (90, 400, []),
        (30, 31, ["retain_texts", *["retain_runs"] * len(OF_RUNS)]),
        (30, None, ["retain_for_ever"] * len(OF_RUNS)),
        (30, None, []),
    ):
        said.clear()
        await retain(database, texts, runs)
        assert said == changes


async def test_runs_that_were_kept_for_a_while_are_kept_for_ever(
    told: list[RunCompleted], database: ClickHouse
) -> None:
    await retain(database, 36_500, 1000)
    await retain(database, 36_500, None)
    assert await _left(database, "runs") == list(DAYS_OLD)
    assert await _left(database, "texts") == list(DAYS_OLD)[:3]  # each to the date that it was stored with


@pytest.mark.parametrize(
    ("asked", "of_runs", "refused"),
    [
        ({"from": "2026-08-01", "by": ["user"]}, False, False),
        ({"from": "2026-07-31", "by": ["user"]}, False, True),
        ({"from": "2026-07-31", "by": ["model"]}, False, False),
        ({"from": "2026-07-31", "by": ["model"]}, True, True),
        ({"from": "2026-07-31", "tz": "Asia/Kolkata"}, False, True),
        ({"from": "2026-10-01", "by": ["user"], "compare": True}, False, False),
        ({"from": "2026-08-15", "by": ["user"], "compare": True}, False, True),
    ],
)
def test_what_needs_runs_that_are_gone_is_refused(asked: dict[str, Any], of_runs: bool, refused: bool) -> None:
    question = UsageAsked.model_validate(asked)
    november = 1_795_521_600_000  # the 24th, 2026: ninety days before it is the 26th of August
    Kept(None, lambda: november).check(question, of_runs=of_runs)
    if refused:
        with pytest.raises(InvalidRequest, match="single runs are kept since 2026-08-01"):
            Kept(90, lambda: november).check(question, of_runs=of_runs)
    else:
        Kept(90, lambda: november).check(question, of_runs=of_runs)


def test_an_hour_that_may_still_change_is_kept(identity_dir: object) -> None:
    given = {"kafka_bootstrap_servers": "k:1", "identity_dir": identity_dir, "clickhouse_dsn": "chdb:///x"}
    with pytest.raises(ValidationError, match="run_retention_days"):
        Settings(**given, run_retention_days=30)
