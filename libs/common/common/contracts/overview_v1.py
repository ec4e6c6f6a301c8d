"""What a period's runs used and cost: `GET /api/analytics/overview`."""

from common.contracts.answers_v1 import Answer, Money, Source
from common.contracts.completeness_v1 import Completeness
from common.contracts.outcomes_v1 import Rated


class PeriodComparison(Answer):
    """The change against the period of equal length before; percents are None where that was zero."""

    runs: int
    cost: Money
    runs_percent: float | None
    cost_percent: float | None


class Totals(Rated):
    """Sums and means of a period. `success_rate` is a percentage; `avg_latency` in ms; cost counts every execution.

    `repeated_cost` is the part of it that executions after a run's first one cost; `unpriced_repeats` are not in it.
    `cache_savings`: what input tokens read from the provider's cache would have cost more at the full input price.
    """

    total_runs: int
    total_cost: Money
    total_tokens: int
    avg_cost_per_run: Money
    success_rate: float
    avg_latency: float
    unpriced_runs: int
    repeated_executions: int
    repeated_cost: Money
    unpriced_repeats: int
    cache_savings: Money
    period_comparison: PeriodComparison


class ModelUsage(Rated):
    """One requested model's share of a period."""

    model: str
    runs: int
    cost: Money
    tokens: int
    avg_cost: Money
    success_rate: float
    unpriced_runs: int
    cache_savings: Money


class DayUsage(Answer):
    """One UTC day of a period; days without runs are zeros. `date` is YYYY-MM-DD."""

    date: str
    runs: int
    cost: Money
    tokens: int
    succeeded: int
    failed: int


class PromptUsage(Rated):
    """One prompt's share of a period. `success_rate` is a percentage, `last_run` an ISO 8601 time in UTC."""

    prompt_id: str
    preview: str
    runs: int
    success_rate: float
    total_cost: Money
    avg_cost: Money
    last_run: str


class Overview(Answer):
    """`GET /api/analytics/overview`. `read_up_to`: everything appended before that time is counted (ISO 8601)."""

    overview: Totals
    model_breakdown: list[ModelUsage]
    time_series: list[DayUsage]
    expensive_prompts: list[PromptUsage]
    source: Source = "days"
    read_up_to: str | None
    completeness: Completeness
