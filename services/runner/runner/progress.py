"""What is known of a run while it is carried out, and how that becomes its end."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from common.contracts.credentials_v1 import Lease
from common.contracts.runs_v1 import Attempt, Cost, RunCompleted, RunError, RunRequested, Status
from common.errors import BatchWasCancelled, DeadlineExceeded, RunFailed, RunnerFault, TallyrunError
from common.ids import new_id, now_ms
from runner.providers import Answer, CallFailed

_COPIED = {
    "run_id", "workspace_id", "user", "operation", "provider", "model",
    "prompt_id", "labels", "batch_id", "custom_id", "accepted_at",
}  # fmt: skip

FREE = Cost(priced=True, total=Decimal(0))
UNKNOWN = Cost(priced=False)


class FinalFailure(RunFailed):
    """A failed call that is not tried again, under the code of that call."""

    def __init__(self, failure: CallFailed, retry_at: int | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.retry_at = retry_at


@dataclass
class Progress:
    """A run on its way. `called_before`: by a runner that is gone; `told`: a piece of its answer may have been seen."""

    run: RunRequested
    called_before: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    lease: Lease | None = None
    answer: Answer | None = None
    cost: Cost | None = None
    told: bool = False

    @property
    def wait_seconds(self) -> float:
        """How long the provider's limits forbid another call, as its answer says."""
        return 0.0 if self.answer is None else self.answer.wait_seconds

    def record(self, started_at: int, latency_ms: int, failure: CallFailed | None) -> None:
        """Note an attempt that is over."""
        known = failure is None or failure.outcome_known
        self.attempts.append(
            Attempt(
                number=len(self.attempts) + 1,
                started_at=started_at,
                latency_ms=latency_ms,
                outcome="known" if known else "unknown",
                status_code=200 if failure is None else failure.status_code,
                error=None if failure is None else failure.code,
                usage=None if self.answer is None else self.answer.usage,
                cost=self.cost,
            )
        )

    def completed(self, error: TallyrunError | None, prompt_preview: str) -> RunCompleted:
        """Return the run's end; `error` None is success."""
        ended = now_ms()
        started = self.attempts[0].started_at if self.attempts else ended
        return RunCompleted(
            **self.run.model_dump(include=_COPIED),
            execution_id=new_id(),
            completed_at=ended,
            status=_status(error),
            error=None if error is None else _run_error(error),
            cost=self._total(),
            attempts=self.attempts,
            prompt_preview=prompt_preview,
            latency_ms=max(0, ended - started),
            queued_ms=max(0, started - self.run.accepted_at),
            **_key(self.lease),
            **answered(self.answer),
        )

    def _total(self) -> Cost:
        """Return what the run cost. A call that may have been charged is unpriced, never free."""
        if self.cost is not None:
            return self.cost
        charged = self.called_before or any(attempt.outcome == "unknown" for attempt in self.attempts)
        return UNKNOWN if charged or self.answer is not None else FREE


def _status(error: TallyrunError | None) -> Status:
    if error is None:
        return "succeeded"
    if isinstance(error, BatchWasCancelled):
        return "cancelled"
    return "expired" if isinstance(error, DeadlineExceeded) else "failed"


def _run_error(error: TallyrunError) -> RunError:
    if isinstance(error, FinalFailure):
        return RunError(code=error.failure.code, message=error.message, retry_at=error.retry_at)
    return RunError(code=error.code if isinstance(error, RunFailed) else RunnerFault.code, message=error.message)


def _key(lease: Lease | None) -> dict[str, object]:
    return {} if lease is None else {"key_id": lease.key_id, "key_version": lease.version}


def answered(answer: Answer | None) -> dict[str, Any]:
    """Return the fields of a completion that the answer tells."""
    if answer is None:
        return {}
    return {
        "output": answer.output,
        "response": answer.response,
        "finish_reason": answer.finish_reason,
        "served_model": answer.served_model,
        "service_tier": answer.service_tier,
        "limits": dict(answer.limits) or None,
        **({} if answer.usage is None else {"usage": answer.usage, "price_context": answer.price_context}),
    }
