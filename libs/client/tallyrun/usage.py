"""What runs used and cost, as the gateway tells it."""

from datetime import datetime
from decimal import Decimal
from typing import Literal

from tallyrun.wire import Told

Period = Literal["7d", "30d", "90d", "1y"]
"""So many days, today included."""

PERIODS = ("7d", "30d", "90d", "1y")


class Completeness(Told):
    """Runs accepted, and what has become of them; `lost` are those whose time to end is over. Times in UTC ms."""

    read_up_to: int | None
    complete_up_to: int | None
    accepted: int
    finished: int
    in_flight: int
    lost: int
    repeated: int
    unpriced: int
    not_filtered: list[str] = []


class Figures(Told):
    """Sums and means. Costs in US dollars, without the `unpriced_runs`; rates in percent, latency in ms.

    A mean of nothing is None. `rated` runs were said to be good or not, or given a score from 0 to 1.
    """

    runs: int
    succeeded: int
    failed: int
    success_rate: float | None
    cost: Decimal
    avg_cost: Decimal | None
    unpriced_runs: int
    repeated_executions: int
    repeated_cost: Decimal
    cache_savings: Decimal
    rated: int
    good_outcomes: int
    bad_outcomes: int
    outcome_rate: float | None
    score: Decimal | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    total_tokens: int
    avg_latency: float | None


class Group(Figures):
    """The figures of one value of each thing that costs are shared out by; None stands for all the others."""

    by: dict[str, str | None]


class Usage(Told):
    """Costs over days of a time zone, both ends included. `values`: how many there are; the costliest are `groups`."""

    start: str
    end: str
    time_zone: str
    by: list[str]
    groups: list[Group]
    values: int
    totals: Figures
    read_up_to: datetime | None
    completeness: Completeness
