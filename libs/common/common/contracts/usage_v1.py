"""What runs used and cost, by any dimensions: `GET /api/analytics/usage`."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from common.contracts.answers_v1 import Answer, Money, Period, Source
from common.contracts.completeness_v1 import Completeness
from common.contracts.outcomes_v1 import Rated
from common.contracts.runs_v1 import Status

Values = Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=100)]


class UsageAsked(BaseModel):
    """The question, as query parameters; those that are lists may be repeated.

    Days are calendar days of `tz` (IANA), both ends included; without `from` it is the period that ends today. `by`: at
    most two of hour, day, week, month, time, model, provider, key, prompt, user, batch, status, tier, error,
    label:NAME; `time` is whichever of the first four suits the number of days. Filters keep what has one of the values
    given; `label` is NAME=VALUE. `top`: so many values are told apart, the costliest. `compare`: with as many days
    before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    period: Period = "30d"
    from_: date | None = Field(None, alias="from")
    to: date | None = None
    tz: str = Field("UTC", max_length=64)
    by: Annotated[list[Annotated[str, Field(max_length=96)]], Field(max_length=2)] = []
    model: Values = []
    provider: Values = []
    key: Values = []
    prompt: Values = []
    user: Values = []
    batch: Values = []
    status: list[Status] = []
    tier: Values = []
    error: Values = []
    label: Values = []
    top: int = Field(100, ge=1, le=10_000)
    compare: bool = False


class ExportAsked(UsageAsked):
    """Which runs are exported, asked for as usage is: days, time zone and filters; `by`, `top`, `compare` say nothing.

    `csv` and `parquet` have a row for each execution, `focus` one for each charge. `texts`: also what was said.
    """

    format: Literal["csv", "parquet", "focus"] = "csv"
    texts: bool = False


class Figures(Rated):
    """Sums over runs, and means where there is something to divide by. Rates are percentages, latencies ms.

    Runs count by the execution that completed first; cost and tokens count every execution. `cost` leaves out what has
    no price: `unpriced_runs` and `unpriced_repeats` say how much that is. `cache_savings`: what input tokens read from
    the provider's cache would have cost more at the full input price.
    """

    runs: int
    succeeded: int
    failed: int
    success_rate: float | None
    cost: Money
    avg_cost: Money | None
    unpriced_runs: int
    repeated_executions: int
    repeated_cost: Money
    unpriced_repeats: int
    cache_savings: Money
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    total_tokens: int
    avg_latency: float | None


class Group(Figures):
    """The figures of one value of each dimension; a value that is None stands for all that are not told apart.

    `previous`: the same in the days before, where a comparison is asked for and no dimension is a time.
    """

    by: dict[str, str | None]
    previous: Figures | None = None


class Usage(Answer):
    """`start` and `end` are days of the time zone, both included. `source`: the rollup that was asked, or the runs.

    `values`: how many values the dimensions besides time have together; at most `top` of them are told apart.
    `times`: every value of the first dimension that is a time, in order, those without runs included.
    """

    start: str
    end: str
    time_zone: str
    source: Source
    by: list[str]
    times: list[str]
    groups: list[Group]
    values: int
    totals: Figures
    previous: Figures | None
    read_up_to: str | None
    completeness: Completeness


class LatencyGroup(Answer):
    """How long the runs of a group took that succeeded, retries included, in ms; `p90`: nine in ten took no longer."""

    by: dict[str, str]
    runs: int
    shortest: int
    p50: int
    p90: int
    p95: int
    p99: int
    longest: int


class Latency(Answer):
    """`GET /api/analytics/latency`, asked as usage is; the groups with most runs first."""

    start: str
    end: str
    time_zone: str
    source: Source = "runs"
    by: list[str]
    groups: list[LatencyGroup]
    read_up_to: str | None
    completeness: Completeness
