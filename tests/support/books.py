"""What the books must say: the sum over published events, made without the service; and what each table says."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import NamedTuple
from uuid import UUID

from analytics.clickhouse import ClickHouse
from analytics.watermark import Watermark
from common.contracts.runs_v1 import Cost, RunCompleted, Usage
from common.ids import new_id, now_ms

WITHIN = 60
"""Seconds without any progress after which nothing more will be counted."""

TABLES = {
    "runs": "SELECT workspace_id, uniqExact(run_id), sum(usage.input + usage.output), sum(ifNull(cost.total, 0))"
    " FROM runs FINAL GROUP BY workspace_id",
    "usage_hours": "SELECT workspace_id, sum(usage_hours.runs), sum(input_tokens + output_tokens), sum(cost)"
    " FROM usage_hours FINAL GROUP BY workspace_id",
    "usage_days": "SELECT workspace_id, sum(usage_days.runs), sum(input_tokens + output_tokens), sum(cost)"
    " FROM usage_days FINAL GROUP BY workspace_id",
    "usage_prompts": "SELECT workspace_id, sum(usage_prompts.runs), NULL, sum(cost)"
    " FROM usage_prompts FINAL GROUP BY workspace_id",
    "batch_runs": "SELECT workspace_id, uniqExact(run_id), sum(usage.input + usage.output), sum(ifNull(cost.total, 0))"
    " FROM (SELECT * FROM batch_runs LIMIT 1 BY execution_id) GROUP BY workspace_id",
}


def drawn(
    completed: Callable[..., RunCompleted], workspace: UUID, count: int, draw: random.Random
) -> list[RunCompleted]:
    """Draw completions over three hours, models, prompts and prices; one in ten runs was executed twice."""
    now = now_ms()
    runs = [
        completed(
            workspace_id=workspace,
            accepted_at=now - draw.randrange(3 * 3_600_000),
            model=draw.choice(["gpt-4", "gpt-4o-mini", "o5"]),
            prompt_id=draw.choice(["greeting", "summary", "search"]),
            batch_id=draw.choice([None, "a", "b"]),
            status=draw.choice(["succeeded", "succeeded", "failed"]),
            usage=Usage(input=draw.randrange(10**6), output=draw.randrange(10**6)),
            cost=Cost(priced=True, total=Decimal(draw.randrange(10**20)).scaleb(-18)),
        )
        for _ in range(count)
    ]
    again = [run.model_copy(update={"execution_id": new_id()}) for run in runs[::10]]
    return [*runs, *again]


async def until_counted(watermark: Watermark, database: ClickHouse) -> None:
    """Return once everything published before this call is stored and counted."""
    published_by = now_ms() + 1
    before: Mapping[str, Sequence[int]] = {}
    while not await watermark.passes(published_by, within=WITHIN):
        # Not the time that was read up to: it is the slowest partition's, and others may be read meanwhile.
        assert watermark.stored.offsets != before, "nothing more is stored"
        before = watermark.stored.offsets
    async with asyncio.timeout(WITHIN):
        while any(mark["fresh"] for mark in await database.rows("dirty_hours")):
            await asyncio.sleep(0.05)


class Sums(NamedTuple):
    """Of one workspace; `usage_prompts` does not tell tokens."""

    runs: int
    tokens: int | None
    cost: Decimal


def expected(events: Iterable[RunCompleted]) -> dict[UUID, Sums]:
    """Return each workspace's sums: runs by run id, tokens and cost by execution; an event said twice counts once."""
    executions = {event.execution_id: event for event in events}
    of: dict[UUID, list[RunCompleted]] = {}
    for event in executions.values():
        of.setdefault(event.workspace_id, []).append(event)
    return {workspace: _sums(events) for workspace, events in of.items()}


def _sums(events: list[RunCompleted]) -> Sums:
    with localcontext(prec=100):
        cost = sum((event.cost.total or Decimal(0) for event in events), Decimal(0))
    tokens = sum(event.usage.input + event.usage.output for event in events)
    return Sums(len({event.run_id for event in events}), tokens, cost)


async def assert_exact(database: ClickHouse, events: Iterable[RunCompleted]) -> None:
    """Fail unless every table says of these workspaces exactly what was published."""
    events = list(events)
    truth = expected(events)
    special = {
        "usage_prompts": {workspace: sums._replace(tokens=None) for workspace, sums in truth.items()},
        "batch_runs": expected(event for event in events if event.batch_id),
    }
    for table, statement in TABLES.items():
        rows = await database._run(lambda statement=statement: database._client.query(statement).result_rows)  # type: ignore[misc]
        found = {workspace: Sums(*sums) for workspace, *sums in rows if workspace in truth}
        assert found == special.get(table, truth), table
