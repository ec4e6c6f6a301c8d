"""What analytics answers and the gateway serves unchanged: camelCase, money as exact decimals."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Generic, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

Period = Literal["7d", "30d", "90d", "1y"]
PERIOD_DAYS: dict[str, int] = {"7d": 7, "30d": 30, "90d": 90, "1y": 365}

Source = Literal["days", "hours", "runs"]
"""Where an answer is from: sums of days, sums of hours, or the runs themselves."""

Money = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""US dollars: on the wire a JSON number with every digit, so that a reader that parses decimals loses none."""

Score = Annotated[Decimal, WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
"""From 0 to 1: on the wire a JSON number with every digit."""

T = TypeVar("T")


class Answer(BaseModel):
    """Part of an answer: camelCase on the wire."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    def encode(self) -> bytes:
        """Return the JSON: decimals digit for digit (a float would round), times in UTC to the millisecond."""
        return orjson.dumps(self.model_dump(by_alias=True), default=_written, option=orjson.OPT_PASSTHROUGH_DATETIME)


def _written(value: object) -> orjson.Fragment | str:
    match value:
        case Decimal():
            return orjson.Fragment(_digits(value))
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"no JSON for {type(value).__name__}")


def _digits(value: Decimal) -> str:
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


class Success(Answer, Generic[T]):
    """The shape of every answer with data."""

    success: Literal[True] = True
    data: T


class UsageCount(Answer):
    """How often a provider key was used by runs that ended."""

    key_id: str
    usage_count: int
    last_used_at: str | None


class OutputTokens(Answer):
    """Output tokens of a model's last answers in a workspace: how many answers, their mean and their quartiles."""

    runs: int
    mean: int
    lower: int
    upper: int


class TokensUsed(Answer):
    """Token counts of one run; `input` includes cached reads and cache writes, `output` includes reasoning."""

    input: int
    output: int
    cached: int
    cache_writes: int
    reasoning: int
    total: int


class AttemptView(Answer):
    """One call to the provider."""

    number: int
    started_at: str
    latency_ms: int
    outcome: str
    status_code: int | None
    error: str | None
    cost: Money | None


class ExecutionView(Answer):
    """One time that a run was carried out, normally the only one. `cost` None is unpriced."""

    execution_id: str
    status: str
    completed_at: str
    priced: bool
    cost: Money | None
    error_code: str | None
    attempts: list[AttemptView]


class Outcome(Answer):
    """What was said of a run. `recorded_at` is an ISO 8601 time in UTC."""

    success: bool | None
    score: Score | None
    note: str | None
    recorded_at: str


class RunSummary(Answer):
    """One run in a listing. `status` is accepted, succeeded, failed, cancelled or expired; `cost` None is unpriced."""

    run_id: str
    status: str
    provider: str
    model: str
    prompt_id: str | None
    user: str
    accepted_at: str
    completed_at: str | None
    total_tokens: int
    cost: Money | None
    latency: int | None
    error_code: str | None
    executions: int


class Repriced(Answer):
    """A run that was priced again: what it cost as the runner recorded it, and what since the last time.

    None is unpriced. `catalogue`: whose prices it has now; `at` is an ISO 8601 time in UTC.
    """

    from_: Money | None = Field(alias="from")
    to: Money | None
    at: str
    catalogue: str
    reason: str


class RunDetail(RunSummary):
    """One run, whole. `attempts` are those of all executions; `execution_details` tells which belong to which.

    `outcome` is what was said of it afterwards. `cache_savings` None is not known: an unpriced run, or an older one.
    Attempts keep the cost that the runner recorded, also where `repriced` says that the run has another one since.
    """

    operation: str
    labels: dict[str, str]
    batch_id: str | None
    custom_id: str | None
    output: str | None
    response: str | None
    truncated: bool
    finish_reason: str | None
    served_model: str | None
    service_tier: str | None
    usage: TokensUsed | None
    cost_components: dict[str, Money]
    cache_savings: Money | None = None
    catalogue: str | None
    error: str | None
    attempts: list[AttemptView]
    execution_details: list[ExecutionView] = []
    queued_ms: int | None
    key_id: str | None
    prompt_preview: str
    repriced: Repriced | None = None
    outcome: Outcome | None = None


class RunPage(Answer):
    """A page of runs, newest first; `next_cursor` None is the end."""

    runs: list[RunSummary]
    next_cursor: str | None
