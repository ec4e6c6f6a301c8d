"""How a run's end is answered: its output and what it cost, or the error it ended with."""

from typing import Literal

from common.contracts.answers_v1 import Answer, Money, RunDetail
from common.contracts.runs_v1 import RunCompleted, RunError
from common.errors import RUN_ERRORS, ProviderUnavailable, RateLimited, RunFailed, TallyrunError
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


OVERLOADED = 529
"""Anthropic's status for more load than it can serve, as opposed to more than the caller's share (429)."""


class ProviderOverloaded(ProviderUnavailable):
    """The provider said that it is overloaded. Anthropic's surface says so too; on our own it is unavailable."""


End = RunCompleted | RunDetail
"""How a run ended: as the runner told it, or as analytics keeps it."""


def check_succeeded(run: End) -> None:
    """Raise the error that the run ended with, if it did."""
    if run.status == "succeeded":
        return
    if isinstance(run, RunDetail):
        error = RunError(code=run.error_code or "run_failed", message=run.error or f"the run {run.status}")
    else:
        error = run.error or RunError(code="run_failed", message=f"the run was {run.status}")
    failed = failure(error, str(run.run_id))
    if isinstance(failed, ProviderUnavailable) and run.attempts and run.attempts[-1].status_code == OVERLOADED:
        raise ProviderOverloaded(failed.message, retry_after=failed.retry_after, run_id=failed.run_id)
    raise failed


def limits_of(run: End) -> dict[str, str]:
    """Return the headers in which the provider spoke of its limits: known of a run that just ended, kept of none."""
    return (run.limits or {}) if isinstance(run, RunCompleted) else {}


def response_of(run: End) -> str:
    """Return the provider's body of a run that succeeded; raise `RunFailed` where it is not here as it was."""
    if run.response is None or run.truncated:
        why = "over the limit of 10 MiB, and was cut" if run.truncated else "not kept any more"
        message = f"the answer is {why}; what there is of it is at /api/runs/{run.run_id}"
        raise RunFailed(message, run_id=str(run.run_id))
    return run.response


def result_of(run: End) -> RunResult:
    """Return the result of a run that succeeded."""
    return _stored(run) if isinstance(run, RunDetail) else _replied(run)


def _replied(run: RunCompleted) -> RunResult:
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


def _stored(run: RunDetail) -> RunResult:
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
