"""How a run's end is answered: its output and what it cost, or the error it ended with."""

from typing import Literal

from common.contracts.answers_v1 import Answer, Money, RunDetail
from common.contracts.runs_v1 import RunCompleted, RunError
from common.errors import RUN_ERRORS, RateLimited, RunFailed, TallyrunError
from common.ids import now_ms

RATE_LIMIT_SECONDS = 10.0
"""Retry-After where the provider named no time."""


class RunResult(Answer):
    """What a synchronous run answers. `latency` in ms, `cost` in US dollars."""

    output: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: Money | None
    latency: int
    model: str
    run_id: str


class UnpricedResult(RunResult):
    """A run that the price catalogue does not know: unpriced is not free, so `cost` is null."""

    priced: Literal[False] = False


def result_of(run: RunCompleted) -> RunResult:
    """Return the result, or raise the error that the run ended with."""
    if run.status != "succeeded":
        raise failure(run.error or RunError(code="run_failed", message=f"the run was {run.status}"), str(run.run_id))
    kind = RunResult if run.cost.total is not None else UnpricedResult
    return kind(
        output=run.output or "",
        input_tokens=run.usage.input,
        output_tokens=run.usage.output,
        total_tokens=run.usage.input + run.usage.output,
        cost=run.cost.total,
        latency=run.latency_ms,
        model=run.model,
        run_id=str(run.run_id),
    )


def result_of_stored(run: RunDetail) -> RunResult:
    """Return the result of a finished run as analytics keeps it, or raise the error that it ended with."""
    if run.status != "succeeded":
        message = run.error or f"the run {run.status}"
        raise failure(RunError(code=run.error_code or "run_failed", message=message), run.run_id)
    kind = RunResult if run.cost is not None else UnpricedResult
    return kind(
        output=run.output or "",
        input_tokens=run.usage.input if run.usage else 0,
        output_tokens=run.usage.output if run.usage else 0,
        total_tokens=run.total_tokens,
        cost=run.cost,
        latency=run.latency or 0,
        model=run.model,
        run_id=run.run_id,
    )


def failure(error: RunError, run_id: str | None) -> TallyrunError:
    """Return the error that a failed run's caller receives."""
    kind = RUN_ERRORS.get(error.code, RunFailed)
    wait = None if error.retry_at is None else max(1.0, (error.retry_at - now_ms()) / 1000)
    if kind is RateLimited:
        wait = wait or RATE_LIMIT_SECONDS
    return kind(error.message, retry_after=wait, run_id=run_id)
