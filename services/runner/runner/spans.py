"""What the runner's spans say of runs and calls: names and numbers, never texts."""

from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.telemetry import STATUS_CODE, Span, fail, run_attributes
from runner.providers import Answer, CallFailed

ATTEMPT, ATTEMPTS, STATUS = "tallyrun.attempt", "tallyrun.attempts", "tallyrun.status"
INPUT, OUTPUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"


def describe_call(span: Span, run: RunRequested, number: int, outcome: Answer | CallFailed | None) -> None:
    """Say what was called for the run, for the how many-th time, and how that ended."""
    if not span.is_recording():
        return
    span.set_attributes({**run_attributes(run.run_id, run.workspace_id, run.provider, run.model), ATTEMPT: number})
    if isinstance(outcome, CallFailed):
        fail(span, outcome.code)
        span.set_attribute(STATUS_CODE, outcome.status_code or 0)
    elif outcome is not None and outcome.usage is not None:
        span.set_attributes({INPUT: outcome.usage.input, OUTPUT: outcome.usage.output})


def describe_end(span: Span, run: RunCompleted) -> None:
    """Say how the run ended."""
    if not span.is_recording():
        return
    span.set_attributes({STATUS: run.status, ATTEMPTS: len(run.attempts)})
    if run.error is not None:
        fail(span, run.error.code)
