"""Rows onto the log: each a run of its own, under an id that says batch, row and round."""

from dataclasses import dataclass
from uuid import UUID

from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import GENERATIONS
from common.ids import now_ms
from gateway.batches.batch import Batch
from gateway.batches.rows import Request
from gateway.grants import Grants
from gateway.publish import RequestLog
from gateway.replies import Replies

BULK = GENERATIONS[-1].batched.name
SHARED_MS = 5 * 60_000
"""Batches whose deadlines lie within the same five minutes share a grant, and with it the runners' leases."""

LONGEST_LABEL = 256
"""What a run's label may hold; longer metadata stays with the batch."""


def labels_of(batch: Batch) -> dict[str, str]:
    """Return the labels that the batch's runs carry."""
    return {name: value for name, value in batch.labels.items() if len(value) <= LONGEST_LABEL}


@dataclass(frozen=True)
class Sending:
    """What it takes to publish a row."""

    requests: RequestLog
    replies: Replies
    grants: Grants

    async def send(self, batch: Batch, row: Request, run_id: UUID, accepted_at: int, publish_by: int) -> None:
        """Return once the broker has the run; else raise `TooLarge`, `Unavailable` or `OutcomeUnknown`."""
        run = RunRequested(
            run_id=run_id,
            workspace_id=batch.workspace_id,
            user=batch.user,
            operation=row.operation,
            provider=row.spec.name,
            model=row.model,
            body=row.body,
            labels=labels_of(batch),
            batch_id=batch.id,
            custom_id=row.custom_id,
            reply_to=self.replies.reply_to,
            deadline=batch.deadline,
            publish_by=publish_by,
            accepted_at=accepted_at,
        )
        await self.requests.append(run, self._grant(batch, row.spec.name), BULK)

    def publish_by(self, lease_ends: int) -> int | None:
        """Return until when a record sent now may be appended; None if that is too soon to send any."""
        until = min(self.requests.publish_by(), lease_ends)
        return until if until > now_ms() else None

    def _grant(self, batch: Batch, provider: str) -> str:
        shared_until = -(-batch.deadline // SHARED_MS) * SHARED_MS
        return self.grants.shared(batch.workspace_id, provider, shared_until, lifetime_ms=shared_until)
