import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from uuid import UUID, uuid4

import pytest

from analytics.clickhouse import ClickHouse
from analytics.hours import date_of
from analytics.ingest import Refused
from analytics.overview import Overviews, Span
from common.contracts.answers_v1 import Period
from common.contracts.event import Event
from common.contracts.overview_v1 import Overview
from common.contracts.runs_v1 import Cost, RunCompleted, Usage
from common.contracts.topics import DAY_MS
from common.ids import new_id, now_ms

Make = Callable[..., RunCompleted]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]

TODAY = now_ms() // DAY_MS * DAY_MS
NOW = TODAY + 15 * 3_600_000
"""Three in the afternoon of the day the tests run: texts of older days would expire."""


@pytest.fixture
def overviews(database: ClickHouse) -> Overviews:
    return Overviews(database, lambda: NOW, clock=lambda: NOW)


def _random_runs(completed: Make, count: int, seed: int) -> list[RunCompleted]:
    draw = random.Random(seed)
    return [
        completed(
            accepted_at=NOW - draw.randrange(60 * DAY_MS),
            model=draw.choice(["gpt-4", "gpt-4o-mini", "o5"]),
            provider=draw.choice(["openai", "other"]),
            status=draw.choice(["succeeded", "succeeded", "failed", "cancelled", "expired"]),
            usage=Usage(input=draw.randrange(2**30), output=draw.randrange(2**30)),
            cost=draw.choice(
                [
                    Cost(priced=False),
                    Cost(priced=True, total=Decimal(draw.randrange(10**23)).scaleb(-18)),
                    Cost(priced=True, total=Decimal(draw.randrange(100)).scaleb(-18)),
                ]
            ),
            key_id=draw.choice([None, new_id()]),
            latency_ms=draw.randrange(60_000),
        )
        for _ in range(count)
    ]


def _sum(runs: Iterable[RunCompleted]) -> Decimal:
    with localcontext(prec=200):
        return sum((run.cost.total or Decimal(0) for run in runs), Decimal(0))


@pytest.mark.parametrize("seed", [1, 2])
async def test_totals_equal_the_sum_over_the_runs_to_the_last_digit(
    completed: Make, count: Store, overviews: Overviews, workspace: UUID, seed: int
) -> None:
    runs = _random_runs(completed, 400, seed)
    assert await count([*runs, *runs[:100]]) == []
    assert await count(reversed(runs)) == []

    answer = await overviews.overview(workspace, "30d")

    start = TODAY - 29 * DAY_MS
    now = [run for run in runs if run.accepted_at >= start]
    before = [run for run in runs if start - 30 * DAY_MS <= run.accepted_at < start]
    _assert_totals(answer, now, before)
    _assert_models(answer, now)
    _assert_days(answer, now)


def _assert_totals(answer: Overview, now: list[RunCompleted], before: list[RunCompleted]) -> None:
    totals, succeeded = answer.overview, [run for run in now if run.status == "succeeded"]
    assert totals.total_runs == len(now)
    assert totals.total_cost == _sum(now)
    assert totals.total_tokens == sum(run.usage.input + run.usage.output for run in now)
    assert totals.unpriced_runs == sum(not run.cost.priced for run in now)
    assert totals.repeated_executions == 0
    assert totals.success_rate == pytest.approx(100 * len(succeeded) / len(now))
    assert totals.avg_latency == pytest.approx(sum(run.latency_ms for run in succeeded) / len(succeeded))
    assert abs(totals.avg_cost_per_run * len(now) - _sum(now)) < Decimal("1e-14")
    assert totals.period_comparison.runs == len(now) - len(before)
    with localcontext(prec=200):
        assert totals.period_comparison.cost == _sum(now) - _sum(before)


def _assert_models(answer: Overview, now: list[RunCompleted]) -> None:
    models = {run.model for run in now}
    assert {row.model for row in answer.model_breakdown} == models
    assert [row.cost for row in answer.model_breakdown] == sorted(row.cost for row in answer.model_breakdown)[::-1]
    for row in answer.model_breakdown:
        of_model = [run for run in now if run.model == row.model]
        assert (row.runs, row.cost) == (len(of_model), _sum(of_model))
        assert row.tokens == sum(run.usage.input + run.usage.output for run in of_model)
        assert row.unpriced_runs == sum(not run.cost.priced for run in of_model)


def _assert_days(answer: Overview, now: list[RunCompleted]) -> None:
    assert len(answer.time_series) == 30
    for day in answer.time_series:
        of_day = [run for run in now if str(datetime.fromtimestamp(run.accepted_at / 1000, UTC).date()) == day.date]
        assert (day.runs, day.cost) == (len(of_day), _sum(of_day))
        assert day.succeeded == sum(run.status == "succeeded" for run in of_day)
        assert day.failed == day.runs - day.succeeded


async def test_an_empty_workspace_answers_zeros(overviews: Overviews, workspace: UUID) -> None:
    answer = await overviews.overview(workspace, "7d")
    totals = answer.overview
    assert totals.total_runs == totals.total_cost == totals.total_tokens == 0
    assert totals.avg_cost_per_run == totals.success_rate == totals.avg_latency == 0
    assert (totals.period_comparison.runs_percent, totals.period_comparison.cost_percent) == (None, None)
    assert not answer.model_breakdown
    assert not answer.expensive_prompts
    assert [day.runs + day.cost + day.tokens for day in answer.time_series] == [0] * 7


@pytest.mark.parametrize(("period", "days"), [("7d", 7), ("30d", 30), ("90d", 90), ("1y", 365)])
async def test_a_period_is_whole_utc_days_that_end_today(
    completed: Make, count: Store, overviews: Overviews, workspace: UUID, period: Period, days: int
) -> None:
    start, previous = TODAY - (days - 1) * DAY_MS, TODAY - (2 * days - 1) * DAY_MS
    inside = [start, NOW, TODAY + DAY_MS - 1]
    before = [previous, start - 1]
    outside = [previous - 1, TODAY + DAY_MS]
    await count([completed(accepted_at=at) for at in (*inside, *before, *outside)])

    answer = await overviews.overview(workspace, period)

    assert answer.overview.total_runs == 3
    assert answer.overview.period_comparison.runs == 1
    assert answer.overview.period_comparison.runs_percent == 50
    assert answer.overview.period_comparison.cost == Decimal("0.001")
    assert answer.overview.period_comparison.cost_percent == 50
    assert len(answer.time_series) == days
    assert (answer.time_series[0].runs, answer.time_series[-1].runs) == (1, 2)
    assert answer.time_series[-1].date == str(date_of(NOW))


def test_a_leap_day_counts_as_a_day() -> None:
    span = Span.ending(date(2024, 3, 1), "7d")
    assert "2024-02-29" in span.days()
    assert (span.previous_start, span.start) == (date(2024, 2, 17), date(2024, 2, 24))


async def test_a_second_execution_counts_once_in_runs_and_twice_in_cost(
    completed: Make, count: Store, overviews: Overviews, workspace: UUID
) -> None:
    # Eight, since ids are drawn at random and must not decide which execution counts.
    first = [
        completed(accepted_at=NOW, completed_at=NOW + 100, status="failed", execution_id=uuid4()) for _ in range(8)
    ]
    later = {"completed_at": NOW + 200, "status": "succeeded", "cost": Cost(priced=False)}
    again = [run.model_copy(update={"execution_id": uuid4(), **later}) for run in first]
    await count([*again, *first, *again])

    answer = await overviews.overview(workspace, "7d")

    assert (answer.overview.total_runs, answer.overview.repeated_executions) == (8, 8)
    assert answer.overview.total_cost == Decimal("0.008")
    assert answer.overview.total_tokens == 240
    assert answer.overview.success_rate == 0  # by the execution that completed first
    assert answer.overview.unpriced_runs == 8  # by any of them: what it cost is not whole


async def test_repeats_are_shown_with_what_they_cost_and_unpriced_ones_beside_it(
    completed: Make, count: Store, overviews: Overviews, workspace: UUID
) -> None:
    runs = [completed(accepted_at=NOW, cost=Cost(priced=True, total=Decimal("0.5"))) for _ in range(4)]
    prices = [Cost(priced=True, total=Decimal("0.25") + Decimal("1e-18")), Cost(priced=False)]
    again = [
        run.model_copy(update={"execution_id": uuid4(), "completed_at": NOW + 5_000 + n, "cost": cost})
        for run in runs[:2]
        for n, cost in enumerate(prices)
    ]
    await count([*again, *runs, *again])

    totals = (await overviews.overview(workspace, "7d")).overview

    assert (totals.total_runs, totals.repeated_executions, totals.unpriced_repeats) == (4, 4, 2)
    assert totals.repeated_cost == Decimal("0.5") + Decimal("2e-18")
    assert totals.total_cost == 2 + totals.repeated_cost


async def test_unpriced_runs_are_counted_beside_the_cost(
    completed: Make, count: Store, overviews: Overviews, workspace: UUID
) -> None:
    await count([completed(accepted_at=NOW, model="unheard-of", cost=Cost(priced=False)), completed(accepted_at=NOW)])
    answer = await overviews.overview(workspace, "7d")
    assert (answer.overview.unpriced_runs, answer.overview.total_cost) == (1, Decimal("0.001"))
    assert {row.model: row.unpriced_runs for row in answer.model_breakdown} == {"unheard-of": 1, "gpt-4o-mini": 0}


async def test_the_costliest_twenty_prompts_with_the_preview_of_the_latest_run(
    completed: Make, count: Store, overviews: Overviews, workspace: UUID
) -> None:
    prices = {f"prompt-{n}": Cost(priced=True, total=Decimal(n)) for n in range(25)}
    runs = [
        completed(accepted_at=NOW - age, prompt_id=name, cost=cost, prompt_preview=f"{name}, {age} ms ago")
        for name, cost in prices.items()
        for age in (DAY_MS, 5)
    ]
    await count([*runs, completed(accepted_at=NOW, cost=Cost(priced=True, total=Decimal(99)))])

    prompts = (await overviews.overview(workspace, "7d")).expensive_prompts

    assert [prompt.prompt_id for prompt in prompts] == [f"prompt-{n}" for n in range(24, 4, -1)]
    costliest = prompts[0]
    assert (costliest.runs, int(costliest.total_cost), int(costliest.avg_cost)) == (2, 48, 24)
    assert costliest.preview == "prompt-24, 5 ms ago"
    assert costliest.last_run == f"{date_of(NOW)}T14:59:59.995Z"


async def test_workspaces_do_not_see_each_other(
    completed: Make, count: Store, overviews: Overviews, workspace: UUID
) -> None:
    await count([completed(accepted_at=NOW, workspace_id=new_id())])
    assert (await overviews.overview(workspace, "7d")).overview.total_runs == 0


async def test_money_leaves_as_an_exact_number(
    completed: Make, count: Store, overviews: Overviews, workspace: UUID
) -> None:
    cost = Decimal("123456.000000000000000001")
    await count([completed(accepted_at=NOW, cost=Cost(priced=True, total=cost))])
    encoded = (await overviews.overview(workspace, "7d")).encode()
    assert b'"totalCost":123456.000000000000000001,' in encoded
