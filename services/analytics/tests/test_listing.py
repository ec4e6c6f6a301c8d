"""The runs that are listed are those that the figures count, whatever is filtered and wherever a day begins."""

import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from analytics.clickhouse import ClickHouse
from analytics.ingest import Refused
from analytics.runs import Runs
from analytics.usage import Usages
from common.contracts.event import Event
from common.contracts.runs_asked_v1 import RunsAsked
from common.contracts.runs_v1 import Cost, RunCompleted, RunError
from common.contracts.usage_v1 import UsageAsked
from common.errors import InvalidRequest
from common.ids import new_id

Make = Callable[..., RunCompleted]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]

SEED = 11
BEGIN_MS = round(datetime(2026, 10, 23, tzinfo=UTC).timestamp() * 1000)
DAYS = {"from": "2026-10-24", "to": "2026-10-25"}
"""In Berlin the second of them has 25 hours, and the first begins two hours before it does in UTC."""

DIMENSIONS = ("model", "provider", "key", "prompt", "user", "batch", "status", "tier", "error")


class ReadAll:
    """A watermark that has passed everything."""

    async def passes(self, time: int, within: float) -> bool:
        return True


def _drawn(completed: Make) -> list[RunCompleted]:
    """Return executions of 150 runs, some carried out twice, of which the second may have ended otherwise."""
    draw = random.Random(SEED)
    return [execution for _ in range(150) for execution in _executions(completed, draw)]


def _executions(completed: Make, draw: random.Random) -> Iterable[RunCompleted]:
    at = BEGIN_MS + draw.randrange(4 * 86_400_000)
    run = completed(
        accepted_at=at,
        model=draw.choice(["a", "b"]),
        provider=draw.choice(["openai", "other"]),
        prompt_id=draw.choice(["greeting", None]),
        user=draw.choice(["ada", ""]),
        batch_id=draw.choice(["batch_1", None]),
        labels=draw.choice([{"team": "red"}, {"team": "blue"}, {}]),
        **_ending(draw),
    )
    yield run
    if draw.random() < 0.3:
        yield run.model_copy(update={"execution_id": new_id(), "completed_at": at + 99_000, **_ending(draw)})


def _ending(draw: random.Random) -> dict[str, Any]:
    return {
        "status": draw.choice(["succeeded", "failed"]),
        "key_id": draw.choice([UUID(int=1), UUID(int=2)]),
        "service_tier": draw.choice(["default", "flex", None]),
        "cost": draw.choice([Cost(priced=False), Cost(priced=True, total=Decimal("0.01"))]),
        "error": draw.choice([None, RunError(code="rate_limited", message="later")]),
    }


async def listed(runs: Runs, workspace: UUID, **asked: Any) -> list[str]:
    """Return the ids of all runs of the list, page by page."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        page = await runs.page(workspace, RunsAsked.model_validate({**asked, "cursor": cursor, "limit": 50}))
        ids += [run.run_id for run in page.runs]
        if (cursor := page.next_cursor) is None:
            assert len(set(ids)) == len(ids)
            return ids


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
async def test_each_figure_counts_the_runs_that_are_listed_for_it(
    database: ClickHouse, completed: Make, count: Store, workspace: UUID, zone: str
) -> None:
    assert await count(_drawn(completed)) == []
    runs, usages = Runs(database, ReadAll()), Usages(database, lambda: 1)
    checked = 0
    for dimension in (*DIMENSIONS, "label:team"):
        asked = UsageAsked.model_validate({**DAYS, "tz": zone, "by": [dimension]})
        for group in (await usages.answer(workspace, asked)).groups:
            value = group.by[dimension]
            kept = {"label": [f"team={value}"]} if dimension == "label:team" else {dimension: [value]}
            if dimension == "label:team" and not value:
                continue  # a run without the label has no value to keep
            assert len(await listed(runs, workspace, **DAYS, tz=zone, **kept)) == group.runs, (dimension, value)
            checked += 1
    totals = (await usages.answer(workspace, UsageAsked.model_validate({**DAYS, "tz": zone}))).totals
    assert len(await listed(runs, workspace, **DAYS, tz=zone)) == totals.runs
    assert len(await listed(runs, workspace, **DAYS, tz=zone, unpriced=True)) == totals.unpriced_runs
    print(f"seed {SEED}: {totals.runs} runs of the days, {checked} groups")
    assert totals.runs > 50
    assert checked > 15


async def test_those_carried_out_again_can_be_looked_for(
    database: ClickHouse, completed: Make, count: Store, workspace: UUID
) -> None:
    events = _drawn(completed)
    assert await count(events) == []
    executions = [str(event.run_id) for event in events]
    again = {run_id for run_id in executions if executions.count(run_id) > 1}
    assert set(await listed(Runs(database, ReadAll()), workspace, repeated=True)) == again
    print(f"seed {SEED}: {len(again)} of {len(set(executions))} runs")


async def test_an_end_without_a_beginning_is_refused(database: ClickHouse, workspace: UUID) -> None:
    with pytest.raises(InvalidRequest, match="it needs a from"):
        await listed(Runs(database, ReadAll()), workspace, to="2026-10-24")
