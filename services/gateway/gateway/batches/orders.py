"""Orders to runners about providers' own batches, and what they answer."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

from common.contracts.provider_batches_v1 import SUBMIT_MS, Collect, Order, Standing, Submit
from common.contracts.runs_v1 import RunCompleted, RunError, RunRequested
from common.errors import Unavailable
from common.ids import new_id, now_ms
from common.kafka import OutcomeUnknown
from gateway.batches.batch import Batch
from gateway.batches.parts import PartRecord
from gateway.batches.sending import labels_of
from gateway.grants import Grants
from gateway.publish import RequestLog
from gateway.replies import Replies

BEGIN_MS = 60_000
"""No call of an order begins later."""

COLLECT_MS = 30 * 60_000
"""To publish 50,000 ends takes a minute; the provider may take its time to send them."""

MARGIN_MS = 60_000
NO_MODEL = "-"


@dataclass(frozen=True)
class Told:
    """What came of an order: how the provider's batch stands, or an error. `unknown`: it may have been done."""

    standing: Standing | None
    error: RunError | None
    unknown: bool
    key_id: UUID | None


class Orders:
    """Gives orders. Whatever is heard of none was not heard in time: it may have been carried out."""

    def __init__(self, requests: RequestLog, replies: Replies, grants: Grants) -> None:
        self._requests = requests
        self._replies = replies
        self._grants = grants

    async def give(self, batch: Batch, part: PartRecord, order: Order, publish_by: int) -> Told:
        """Return what came of it; raise `Unavailable` where it was surely not given, `TimeoutError` without an answer.

        `OutcomeUnknown`, which is `Unavailable` as well, is raised as `TimeoutError`.
        """
        request = self._request(batch, part, order, publish_by)
        grant = self._grants.for_batches(batch.workspace_id, part.provider, request.deadline)
        with self._replies.expect(request.run_id) as reply:
            try:
                await self._requests.append(request, grant)
            except OutcomeUnknown as error:
                raise TimeoutError from error
            async with asyncio.timeout((_answered_by(order, request.deadline) - now_ms()) / 1000):
                return _told(order, await reply)

    def publish_by(self, lease_ends: int) -> int:
        """Return until when an order given now may be appended; raise `Unavailable` if that is too soon."""
        until = min(self._requests.publish_by(), lease_ends)
        if until <= now_ms():
            raise Unavailable("the lease is about to end", retry_after=1)
        return until

    def _request(self, batch: Batch, part: PartRecord, order: Order, publish_by: int) -> RunRequested:
        now = now_ms()
        return RunRequested(
            run_id=new_id(),
            workspace_id=batch.workspace_id,
            user=batch.user,
            operation="batch",
            provider=part.provider,
            model=NO_MODEL,  # else the provider's limits of orders would hold back runs, and runs' limits orders
            body=order.model_dump(mode="json"),
            labels=labels_of(batch),
            key_id=part.key_id,
            reply_to=self._replies.reply_to,
            deadline=now + BEGIN_MS,
            publish_by=publish_by,
            on_unknown="fail" if isinstance(order, Submit) else "retry",
            accepted_at=now,
        )


def handed_over_by() -> int:
    """Return until when a hand-over that was ordered by now may be under way (UTC ms)."""
    return now_ms() + BEGIN_MS + SUBMIT_MS + MARGIN_MS


def _answered_by(order: Order, deadline: int) -> int:
    """Return until when an order may be under way (UTC ms), that may not begin after `deadline`."""
    longest = COLLECT_MS if isinstance(order, Collect) else SUBMIT_MS
    return deadline + longest + MARGIN_MS


def _told(order: Order, end: RunCompleted) -> Told:
    unknown = any(attempt.outcome == "unknown" for attempt in end.attempts)
    if end.status == "succeeded":
        standing = None if isinstance(order, Collect) else Standing.model_validate_json(end.output or "{}")
        return Told(standing, None, unknown=False, key_id=end.key_id)
    error = end.error or RunError(code="runner_fault", message=f"the order {end.status}")
    return Told(None, error, unknown=unknown or error.code == "outcome_unknown", key_id=end.key_id)
