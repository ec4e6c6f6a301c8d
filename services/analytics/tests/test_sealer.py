import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from importlib.resources import files
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from analytics import sealer as sealing
from analytics.clickhouse import ClickHouse
from analytics.hours import HOUR, date_of, hour_of, stamp
from analytics.ingest import MARKS, RUNS, Ingest, Refused, mark_row
from analytics.overview import Overviews
from analytics.sealer import SETTLE_MS, Sealer
from common.contracts.event import Event
from common.contracts.runs_v1 import Cost, RunCompleted
from common.contracts.topics import DAY_MS
from common.errors import Unavailable
from common.ids import new_id, now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]


async def test_each_hour_is_sealed_once_more_a_minute_after_its_last_mark(
    database: ClickHouse, ingest: Ingest, completed: Make, as_record: AsRecord
) -> None:
    now = now_ms()
    sealer = Sealer(database, lambda: True, clock=lambda: now)
    await ingest.store([as_record(completed())])
    assert [await sealer.seal(), await sealer.seal()] == [1, 0]
    now += SETTLE_MS + 1000
    assert [await sealer.seal(), await sealer.seal()] == [1, 0]
    assert await database.rows("dirty_hours") == []


async def test_a_backlog_of_marks_is_read_a_part_at_a_time_and_all_of_it(
    database: ClickHouse, sealer: Sealer, workspace: UUID
) -> None:
    hour, now = hour_of(now_ms()), now_ms()
    marks = [mark_row((workspace, hour - HOUR), "settling", new_id(), marked_at=now - 1) for _ in range(60_000)]
    await database.insert(MARKS, marks)
    await database.insert(MARKS, [mark_row((workspace, hour), "fresh", new_id(), marked_at=now)])
    read = await database.rows("dirty_hours")
    assert len(read) < len(marks)
    assert read[0]["fresh"], "it is due a minute before the others, though it is younger"
    assert await sealer.seal() == 1
    later = Sealer(database, lambda: True, clock=lambda: now + SETTLE_MS + 1000)
    while await later.seal():
        pass
    assert await database.rows("dirty_hours") == []


async def test_a_mark_set_while_its_hour_is_sealed_is_not_cleared(
    database: ClickHouse, ingest: Ingest, completed: Make, as_record: AsRecord, workspace: UUID
) -> None:
    class Interrupted:
        """Stores another run of the hour while that hour is being sealed."""

        rows, insert, catch_up = database.rows, database.insert, database.catch_up

        async def execute(self, query: str, **parameters: object) -> None:
            await database.execute(query, **parameters)
            if query == "seal_hours" and late:
                await ingest.store([late.pop()])

    run = completed()
    late = [as_record(completed(accepted_at=run.accepted_at))]
    sealer = Sealer(Interrupted(), lambda: True)
    await ingest.store([as_record(run)])
    assert await sealer.seal() == 1
    assert await sealer.seal() == 1
    assert await sealer.seal() == 0
    answer = await Overviews(database, now_ms).overview(workspace, "7d")
    assert answer.overview.total_runs == 2


async def test_a_seal_that_writes_late_does_not_overwrite_a_newer_one(
    database: ClickHouse, ingest: Ingest, completed: Make, as_record: AsRecord, workspace: UUID
) -> None:
    read, write = asyncio.Event(), asyncio.Event()

    class Late:
        """Reads at once, and stands still before it writes what it has read."""

        rows, insert, catch_up = database.rows, database.insert, database.catch_up

        async def execute(self, query: str, **parameters: Any) -> None:
            into, _, select = re.sub("^--.*$", "", _statement(query), flags=re.MULTILINE).partition(")")
            await _command(
                database, f"CREATE TABLE late_{query} ENGINE = Memory AS {select}", **parameters | {"version": 0}
            )
            read.set()
            await write.wait()
            await _command(
                database, f"{into}) SELECT * REPLACE ({int(parameters['version'])} AS `0`) FROM late_{query}"
            )

    run = completed(prompt_id="p")
    await ingest.store([as_record(run)])
    late = asyncio.create_task(Sealer(Late(), lambda: True).seal())
    await read.wait()
    await ingest.store([as_record(completed(accepted_at=run.accepted_at, prompt_id="p"))])
    assert await Sealer(database, lambda: True).seal() == 1
    write.set()
    assert await late == 1
    answer = await Overviews(database, now_ms).overview(workspace, "7d")
    assert answer.overview.total_runs == 2
    assert [row.runs for row in answer.expensive_prompts] == [2]


def _statement(query: str) -> str:
    return (files("analytics") / "queries" / f"{query}.sql").read_text()


async def _command(database: ClickHouse, statement: str, **parameters: object) -> None:
    await database._run(lambda: database._client.command(statement, parameters or None))


async def test_a_group_that_vanished_becomes_zeros(
    database: ClickHouse, ingest: Ingest, completed: Make, as_record: AsRecord, count: Store, workspace: UUID
) -> None:
    run = completed(model="wrong", prompt_id="wrong")
    await count([run])
    corrected = run.model_copy(update={"model": "right", "prompt_id": "right"})
    # A correction is a higher version of the same row.
    versioned = corrected.encode()[:-1] + b',"version":1}'
    await database.insert(RUNS._replace(columns=(*RUNS.columns, "version")), [versioned])
    await count([run])  # delivered again: the correction stands

    answer = await Overviews(database, now_ms).overview(workspace, "7d")

    assert [(row.model, row.runs) for row in answer.model_breakdown] == [("right", 1)]
    assert [(row.prompt_id, row.runs) for row in answer.expensive_prompts] == [("right", 1)]
    assert answer.overview.total_cost == Decimal("0.001")


async def test_prompts_beyond_the_costliest_are_counted_together(
    database: ClickHouse, completed: Make, count: Store, workspace: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "NAMED_PROMPTS", 2)

    def priced(name: str, cost: int) -> RunCompleted:
        return completed(prompt_id=name, cost=Cost(priced=True, total=Decimal(cost)))

    await count([priced("a", 3), priced("b", 2), priced("c", 1)])
    await count([priced("c", 9)])  # b falls among the others

    prompts = (await Overviews(database, now_ms).overview(workspace, "7d")).expensive_prompts
    assert [(row.prompt_id, int(row.total_cost)) for row in prompts] == [("c", 10), ("a", 3)]


async def test_only_the_owner_seals(database: ClickHouse, ingest: Ingest, completed: Make, as_record: AsRecord) -> None:
    async def fresh() -> list[int]:
        return [mark["fresh"] for mark in await database.rows("dirty_hours")]

    def is_owner() -> bool:
        asked.append(owner)
        return owner

    asked: list[bool] = []
    owner = False
    await ingest.store([as_record(completed())])
    sealing = asyncio.create_task(Sealer(database, is_owner).run())
    try:
        async with asyncio.timeout(20):
            while len(asked) < 2:
                await asyncio.sleep(0.01)
            assert await fresh() == [1]
            owner = True
            while await fresh() != [0]:
                await asyncio.sleep(0.01)
    finally:
        sealing.cancel()


@pytest.mark.parametrize("query", ["seal_hours", "seal_days", "seal_prompts"])
async def test_sealing_an_hour_reads_that_hour_alone(
    database: ClickHouse, completed: Make, count: Store, workspace: UUID, query: str
) -> None:
    # Without the primary key every seal would read every run: correct, and a hundred times as slow.
    now = now_ms()
    await count([completed(accepted_at=now, prompt_id="p"), completed(accepted_at=now - 40 * DAY_MS, prompt_id="p")])
    hour, day = stamp(hour_of(now)), date_of(now)
    parameters = {"hours": [(workspace, hour)], "days": [(workspace, day)], "named": 1, "version": 1}
    statement = _statement(query)
    select = re.sub(r"^--.*$|INSERT INTO [^)]*\)", "", statement, flags=re.MULTILINE)
    plan = await database._run(lambda: database._client.query(f"EXPLAIN indexes = 1 {select}", parameters).result_rows)
    assert "element set" in str(plan)
    assert "Condition: true" not in str(plan)


async def test_an_hour_long_ago_is_sealed_like_any_other(
    database: ClickHouse, completed: Make, count: Store, sealer: Sealer
) -> None:
    assert await count([completed(accepted_at=1), completed(accepted_at=4_102_444_000_000)]) == []
    assert await sealer.seal() == 0


async def test_read_up_to_waits_for_the_count(
    database: ClickHouse, ingest: Ingest, sealer: Sealer, completed: Make, as_record: AsRecord, workspace: UUID
) -> None:
    record = as_record(completed())
    await ingest.store([record])
    overviews = Overviews(database, lambda: record.timestamp + 5)
    stored = await overviews.overview(workspace, "7d")
    await sealer.seal()
    counted = await overviews.overview(workspace, "7d")
    assert stored.read_up_to
    assert counted.read_up_to
    assert stored.read_up_to < counted.read_up_to
    assert (stored.overview.total_runs, counted.overview.total_runs) == (0, 1)


@pytest.mark.parametrize("fault", [Unavailable("away"), RuntimeError("a fault of ours")])
async def test_a_seal_that_fails_is_counted_and_tried_again(database: ClickHouse, fault: Exception) -> None:
    class Away:
        execute, insert, catch_up = database.execute, database.insert, database.catch_up

        async def rows(self, query: str, **parameters: object) -> list[dict[str, Any]]:
            raise fault

    failures = REGISTRY.get_sample_value("tallyrun_analytics_seal_failures_total") or 0
    await Sealer(Away(), lambda: True)._try()
    assert REGISTRY.get_sample_value("tallyrun_analytics_seal_failures_total") == failures + 1
