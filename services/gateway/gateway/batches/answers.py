"""Batches and their rows' results as `/api/batches` answers them."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from common.contracts.answers_v1 import Answer, Money
from common.contracts.runs_v1 import Status
from gateway.batches.batch import Batch, LineError, Mode, RunsAs, State
from gateway.batches.parts import PartRecord, Stage
from gateway.batches.results import Result
from gateway.moment import moment, moment_or_none


class FaultAnswer(Answer):
    """What is wrong with a line, counted from 1."""

    line: int | None
    code: str
    message: str
    param: str | None


class QuotedAnswer(Answer):
    """What the rows were expected to cost when they were validated, but for those without a price."""

    low: Money
    high: Money
    unpriced_rows: int


class PartAnswer(Answer):
    """Rows that went to a provider as one of its own batches, and the counts that it tells of them, if it does.

    `stage`: where we are with it; `state`: what the provider says of its batch.
    """

    provider: str
    model: str
    rows: int
    stage: Stage
    provider_batch_id: str | None
    state: str | None
    completed: int | None
    failed: int | None
    submitted_at: datetime | None
    ended_at: datetime | None


class BatchAnswer(Answer):
    """A batch. Counts are of rows, `cost` and `max_cost` in US dollars; what has no price is in `unpriced` alone.

    `read_up_to`: what had ended before that time is in the figures. `runs_as`: what became of `mode`, once the rows are
    read; `runs_as_why`, where not through the providers' own batches though it was asked for.
    """

    id: str
    name: str | None
    state: State
    paused_reason: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    deadline: datetime
    rows: int
    fed: int
    in_flight: int
    succeeded: int
    failed: int
    expired: int
    cancelled: int
    cost: Money
    unpriced: int
    max_cost: Money | None
    rate_per_second: float
    seconds_left: int | None
    retry_of: str | None
    labels: dict[str, str]
    errors: list[FaultAnswer]
    file_id: str
    output_file_id: str | None
    error_file_id: str | None
    read_up_to: datetime | None
    quote: QuotedAnswer | None
    mode: Mode
    runs_as: RunsAs | None
    runs_as_why: str | None
    parts: list[PartAnswer]


class BatchPage(Answer):
    """A page of batches, newest first; `next_cursor` None is the end."""

    batches: list[BatchAnswer]
    next_cursor: str | None


class UsageAnswer(Answer):
    """Tokens of one row."""

    input: int
    output: int
    cached: int
    cache_writes: int
    reasoning: int
    total: int


class ResultAnswer(Answer):
    """How a row ended; without a run it was never fed. `cost` in US dollars, `latency` in ms."""

    custom_id: str
    run_id: str | None
    status: Status
    output: str | None
    response: str | None
    error_code: str | None
    error: str | None
    model: str | None
    usage: UsageAnswer | None
    cost: Money | None
    priced: bool
    latency: int | None


class ResultWithInput(ResultAnswer):
    """The same with the row's line, counted from 1, and its request."""

    line: int | None
    input: Any


def batch_answer(batch: Batch) -> BatchAnswer:
    """Return the batch as it is answered."""
    progress = batch.progress
    return BatchAnswer(
        id=batch.id,
        name=batch.name,
        state=batch.state,
        paused_reason=batch.paused_reason,
        created_at=moment(batch.created_at),
        started_at=moment_or_none(batch.started_at),
        ended_at=moment_or_none(batch.ended_at),
        deadline=moment(batch.deadline),
        rows=progress.rows,
        fed=progress.fed,
        in_flight=progress.in_flight,
        succeeded=progress.succeeded,
        failed=progress.failed,
        expired=progress.expired,
        cancelled=progress.cancelled,
        cost=progress.cost,
        unpriced=progress.unpriced,
        max_cost=batch.max_cost,
        rate_per_second=progress.rate,
        seconds_left=progress.seconds_left,
        retry_of=batch.retry_of,
        labels=batch.labels,
        errors=[fault(error) for error in batch.errors],
        file_id=batch.file_id,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        read_up_to=moment_or_none(progress.read_up_to),
        quote=_quoted(batch),
        mode=batch.mode,
        runs_as=batch.runs_as,
        runs_as_why=batch.runs_as_why,
        parts=[_part(PartRecord.model_validate(part)) for part in batch.parts],
    )


def _part(part: PartRecord) -> PartAnswer:
    return PartAnswer(
        provider=part.provider,
        model=part.model,
        rows=part.rows,
        stage=part.stage,
        provider_batch_id=part.provider_batch,
        state=part.state or None,
        completed=part.completed,
        failed=part.failed,
        submitted_at=moment_or_none(part.submitted_at),
        ended_at=moment_or_none(part.ended_at),
    )


def _quoted(batch: Batch) -> QuotedAnswer | None:
    low, high, unpriced = batch.quoted_low, batch.quoted_high, batch.quoted_unpriced
    if low is None or high is None or unpriced is None:
        return None
    return QuotedAnswer(low=low, high=high, unpriced_rows=unpriced)


def fault(error: LineError) -> FaultAnswer:
    """Return the fault as it is answered."""
    return FaultAnswer(line=error.line, code=error.code, message=error.message, param=error.param)


def result_fields(result: Result) -> dict[str, Any]:
    """Return the fields of a `ResultAnswer`."""
    run = result.run
    known = {"custom_id": result.custom_id, "status": result.status, "error_code": result.code, "error": result.message}
    if run is None:
        nothing = dict.fromkeys(("run_id", "output", "response", "model", "usage", "cost", "latency"))
        return {**known, **nothing, "priced": True, "cost": Decimal(0)}
    return {
        **known,
        "run_id": str(run.run_id),
        "output": run.output,
        "response": run.response,
        "model": run.model,
        "usage": UsageAnswer(**vars(run.usage)),
        "cost": run.cost,
        "priced": run.priced,
        "latency": run.latency,
    }
