"""The overview: what a period cost, and who spent it, from the sealed usage alone."""

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from analytics.completeness import CALL_MS, Reading
from analytics.database import Database
from analytics.figures import OUTCOMES, WAITING, rated
from analytics.hours import date_of, hour_of, iso, stamp
from analytics.money import EXACT, mean
from analytics.sums import Sums, add, percent, zeros
from common.contracts.answers_v1 import PERIOD_DAYS, Period
from common.contracts.overview_v1 import DayUsage, ModelUsage, Overview, PeriodComparison, PromptUsage, Totals
from common.ids import now_ms

EXPENSIVE_PROMPTS = 20

Rows = list[dict[str, Any]]


class Span(NamedTuple):
    """A period of whole UTC days, both ends included, and the beginning of the equally long one before it."""

    previous_start: date
    start: date
    end: date

    @classmethod
    def ending(cls, today: date, period: Period) -> "Span":
        """Return the period that ends with today, which is not over."""
        length = timedelta(days=PERIOD_DAYS[period])
        start = today - length + timedelta(days=1)
        return cls(start - length, start, today)

    def days(self) -> list[str]:
        """Return the days of the period itself, as YYYY-MM-DD."""
        return [str(self.start + timedelta(days=n)) for n in range((self.end - self.start).days + 1)]


class Overviews:
    """Answers for one workspace at a time. `stored` tells how far the topics are stored, in UTC ms.

    The mean latency is that of the runs that succeeded: a refusal after 20 ms is no fast answer.
    """

    def __init__(
        self, database: Database, stored: Callable[[], int], clock: Callable[[], int] = now_ms, call_ms: int = CALL_MS
    ) -> None:
        self._database = database
        self._reading = Reading(database, stored, call_ms, clock)
        self._clock = clock

    async def overview(self, workspace: UUID, period: Period) -> Overview:
        """Return the period of UTC calendar days that ends today, against the one before it."""
        span = Span.ending(date_of(self._clock()), period)
        seen = await self._reading.look(workspace)  # first: what is counted meanwhile can only be more
        usage, prompts = await asyncio.gather(self._usage(workspace, span), self._prompts(workspace, span))
        by_day = {row["date"]: row for row in usage if not row["by_model"]}
        now, before = _sums(by_day, span)
        return Overview(
            overview=_totals(now, before),
            model_breakdown=[_model(row) for row in usage if row["by_model"]],
            time_series=[_day(day, by_day.get(day, _NOTHING)) for day in span.days()],
            expensive_prompts=prompts,
            read_up_to=iso(seen.read_up_to) if seen.read_up_to else None,
            completeness=seen.completeness(now),
        )

    async def _usage(self, workspace: UUID, span: Span) -> Rows:
        return await self._database.rows(
            "overview_usage",
            workspace=workspace,
            lost_before=self._reading.lost_before(),
            **{"previous_from": span.previous_start, "from": span.start, "to": span.end},
        )

    async def _prompts(self, workspace: UUID, span: Span) -> list[PromptUsage]:
        rows = await self._database.rows(
            "overview_prompts",
            workspace=workspace,
            **{"from": span.start, "to": span.end, "limit": EXPENSIVE_PROMPTS},
        )
        previews = await self._previews(workspace, rows) if rows else {}
        return [_prompt(row, previews.get(row["run_id"], "")) for row in rows]

    async def _previews(self, workspace: UUID, prompts: Rows) -> dict[UUID, str]:
        """Return the previews of each prompt's latest run; texts that expired have none."""
        rows = await self._database.rows(
            "prompt_previews",
            workspace=workspace,
            hours=sorted({stamp(hour_of(row["last_run_at"])) for row in prompts}),
            run_ids=[row["run_id"] for row in prompts],
        )
        return {row["run_id"]: row["prompt_preview"] for row in rows}


_NOTHING = zeros(
    (
        *("runs", "executions", "succeeded", "failed", "unpriced", "repeated_unpriced", "tokens", "latency_ms"),
        *(*OUTCOMES, *WAITING),
    ),
    ("cost", "repeated_cost", "cache_savings", "score"),
)


def _sums(by_day: dict[str, dict[str, Any]], span: Span) -> tuple[Sums, Sums]:
    """Return those of the period and those of the one before it."""
    start = str(span.start)
    now = add((row for day, row in by_day.items() if day >= start), _NOTHING)
    return now, add((row for day, row in by_day.items() if day < start), _NOTHING)


def _totals(now: Sums, before: Sums) -> Totals:
    return Totals(
        total_runs=now["runs"],
        total_cost=now["cost"],
        total_tokens=now["tokens"],
        avg_cost_per_run=mean(now["cost"], now["runs"]),
        success_rate=percent(now["succeeded"], now["runs"]) or 0.0,
        avg_latency=now["latency_ms"] / now["succeeded"] if now["succeeded"] else 0.0,
        unpriced_runs=now["unpriced"],
        repeated_executions=now["executions"] - now["runs"],
        repeated_cost=now["repeated_cost"],
        unpriced_repeats=now["repeated_unpriced"],
        cache_savings=now["cache_savings"],
        period_comparison=_compare(now, before),
        **rated(now),
    )


def _compare(now: Sums, before: Sums) -> PeriodComparison:
    runs = now["runs"] - before["runs"]
    cost = EXACT.subtract(now["cost"], before["cost"])
    return PeriodComparison(
        runs=runs,
        cost=cost,
        runs_percent=percent(runs, before["runs"]),
        cost_percent=percent(cost, before["cost"]),
    )


def _model(row: dict[str, Any]) -> ModelUsage:
    return ModelUsage(
        model=row["model"],
        runs=row["runs"],
        cost=row["cost"],
        tokens=row["tokens"],
        avg_cost=mean(row["cost"], row["runs"]),
        success_rate=percent(row["succeeded"], row["runs"]) or 0.0,
        unpriced_runs=row["unpriced"],
        cache_savings=row["cache_savings"],
        **rated(row),
    )


def _day(day: str, row: dict[str, Any]) -> DayUsage:
    return DayUsage(date=day, **{name: row[name] for name in ("runs", "cost", "tokens", "succeeded", "failed")})


def _prompt(row: dict[str, Any], preview: str) -> PromptUsage:
    return PromptUsage(
        prompt_id=row["prompt_id"],
        preview=preview,
        runs=row["runs"],
        success_rate=percent(row["succeeded"], row["runs"]) or 0.0,
        total_cost=row["cost"],
        avg_cost=mean(row["cost"], row["runs"]),
        last_run=iso(row["last_run_at"]),
        **rated(row),
    )
