"""What a period's runs cost, as the gateway's overview tells."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from tallyrun.wire import Told

Period = Literal["7d", "30d", "90d", "1y"]
"""So many UTC days, today included."""


class Totals(Told):
    """Of the period. Costs in US dollars, without the `unpriced_runs`; `success_rate` in percent."""

    total_runs: int
    total_cost: Decimal
    total_tokens: int
    success_rate: float
    unpriced_runs: int
    repeated_executions: int
    repeated_cost: Decimal


class ModelCost(Told):
    """One model's share."""

    model: str
    runs: int
    cost: Decimal
    tokens: int
    avg_cost: Decimal
    success_rate: float
    unpriced_runs: int


class DayCost(Told):
    """One UTC day, YYYY-MM-DD."""

    date: str
    runs: int
    cost: Decimal
    tokens: int
    succeeded: int
    failed: int


class PromptCost(Told):
    """One prompt's share: the costliest are told."""

    prompt_id: str
    preview: str
    runs: int
    total_cost: Decimal
    avg_cost: Decimal
    last_run: str


class Overview(Told):
    """A period's costs. `read_up_to`: everything that ended before is counted."""

    overview: Totals
    model_breakdown: list[ModelCost]
    time_series: list[DayCost]
    expensive_prompts: list[PromptCost]
    read_up_to: datetime | None
