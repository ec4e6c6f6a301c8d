"""How a row of a provider's batch ended, as its run's completion."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from common.contracts.credentials_v1 import Lease
from common.contracts.provider_batches_v1 import Collect
from common.contracts.runs_v1 import BATCH_TIER, Cost, RunCompleted, RunError, RunRequested, Status
from common.ids import named_run_id
from common.pricing import STANDARD_TIERS
from runner.progress import FREE, UNKNOWN, answered
from runner.providers import Answer, CallFailed
from runner.providers.batching import Unserved

LISTED_TIERS = STANDARD_TIERS | {"auto", BATCH_TIER}
CHARGED = frozenset({200})
"""The status of an answer that cannot be read: it was carried out, and paid."""

WORDS: dict[Unserved, str] = {
    "expired": "the provider's batch expired before this row's turn",
    "cancelled": "the provider's batch was cancelled before this row's turn",
    "unknown": "the provider's batch ended, and tells nothing of this row",
}


@dataclass(frozen=True)
class Row:
    """A row of a part, without its request."""

    run_id: UUID
    custom_id: str
    model: str
    preview: str


Pricing = Callable[[RunRequested, Row, Answer, int], Cost]
"""What the row's answer cost in a batch that ended then (UTC ms)."""


class Ending:
    """Makes the completions of one part's rows. Each depends on its arguments alone: made twice, it is the same.

    A row's place in time is the end of the provider's batch: before that, nobody knows of it.
    """

    def __init__(self, run: RunRequested, order: Collect, lease: Lease, price: Pricing) -> None:
        self._run = run
        self._order = order
        self._lease = lease
        self._price = price

    def of(self, row: Row, end: Answer | CallFailed | Unserved) -> RunCompleted:
        """Return the row's completion."""
        if isinstance(end, Answer):
            answer = _in_batch(end)
            return self._completed(row, "succeeded", self._cost(row, answer), None, answered(answer))
        if isinstance(end, CallFailed):
            return self._failed(row, end)
        return self._unserved(row, end)

    def _cost(self, row: Row, answer: Answer) -> Cost:
        return self._price(self._run, row, answer, self._order.ended_at)

    def _failed(self, row: Row, failed: CallFailed) -> RunCompleted:
        """A failure that may pass is tried again with the rows that were not served."""
        if failed.retryable and self._order.again_at is not None:
            return self._again(row, failed.message)
        cost = UNKNOWN if failed.status_code in CHARGED else FREE
        return self._completed(row, "failed", cost, RunError(code=failed.code, message=failed.message))

    def _unserved(self, row: Row, why: Unserved) -> RunCompleted:
        if (failure := self._order.failure) is not None:
            unknown = failure.code == "outcome_unknown"
            return self._completed(row, "failed", UNKNOWN if unknown else FREE, failure)
        if why == "unknown":
            return self._completed(row, "failed", UNKNOWN, RunError(code="outcome_unknown", message=WORDS[why]))
        if self._order.why == "cancelled":
            return self._completed(row, "cancelled", FREE, RunError(code="batch_cancelled", message=WORDS["cancelled"]))
        if self._order.why == "deadline" or (why == "expired" and self._order.again_at is None):
            return self._completed(row, "expired", FREE, RunError(code="deadline_exceeded", message=WORDS[why]))
        return self._again(row, WORDS[why])

    def _again(self, row: Row, message: str) -> RunCompleted:
        error = RunError(code="not_served", message=message, retry_at=self._order.again_at)
        return self._completed(row, "failed", FREE, error)

    def _completed(
        self, row: Row, status: Status, cost: Cost, error: RunError | None, told: dict[str, Any] | None = None
    ) -> RunCompleted:
        run, order = self._run, self._order
        return RunCompleted(
            run_id=row.run_id,
            execution_id=named_run_id("collected", str(order.part.id), str(row.run_id)),
            workspace_id=run.workspace_id,
            user=run.user,
            operation=order.part.operation,
            provider=run.provider,
            model=row.model,
            labels=run.labels,
            batch_id=order.part.batch_id,
            custom_id=row.custom_id,
            accepted_at=order.ended_at,
            completed_at=order.ended_at,
            status=status,
            cost=cost,
            error=error,
            prompt_preview=row.preview,
            key_id=self._lease.key_id,
            key_version=self._lease.version,
            **(told or {"service_tier": BATCH_TIER}),
        )


def _in_batch(answer: Answer) -> Answer:
    """Return the answer under the tier of batches; a tier that is dearer or cheaper than listed stays as it is."""
    listed = answer.service_tier is None or answer.service_tier in LISTED_TIERS
    return replace(answer, service_tier=BATCH_TIER) if listed else answer
