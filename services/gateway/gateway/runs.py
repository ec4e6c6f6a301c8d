"""Runs: accepted once the broker has them, and waited for where the caller asks for that."""

import asyncio
import logging
from typing import Protocol
from uuid import UUID

from common.contracts.answers_v1 import RunDetail
from common.contracts.runs_v1 import ReplyTo, RunRequested
from common.contracts.topics import DAY_MS
from common.errors import NotFound, StillRunning, TallyrunError, TooLarge, Unavailable
from common.ids import now_ms
from common.providers import Providers
from gateway import metrics
from gateway.claims import ClaimStore, Ticket, claimed_ticket, new_ticket
from gateway.grants import Grants
from gateway.prompts import Prompt
from gateway.publish import RequestLog
from gateway.replies import Replies, Reply
from gateway.results import RunResult, result_of, result_of_stored
from gateway.tokens import Caller

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25


class StoredRuns(Protocol):
    """Where finished runs can be asked for."""

    async def finished(self, workspace_id: UUID, run_id: UUID, accepted_at: int) -> RunDetail | None:
        """Return the run, or None while it has not ended."""


class Runs:
    """Accepts runs. A synchronous run is the same run as an asynchronous one, with somebody waiting for its reply."""

    def __init__(
        self,
        *,
        requests: RequestLog,
        replies: Replies,
        grants: Grants,
        claims: ClaimStore,
        stored: StoredRuns,
        providers: Providers,
        sync_wait_seconds: float,
    ) -> None:
        self._requests = requests
        self._replies = replies
        self._grants = grants
        self._claims = claims
        self._stored = stored
        self._providers = providers
        self._wait_seconds = sync_wait_seconds

    async def ticket(self, caller: Caller, prompt: Prompt, idempotency_key: str | None) -> Ticket:
        """Return a new run's ticket, or that of the run which the workspace gave this key to."""
        self._providers.find(prompt.provider)  # before anything is claimed
        if idempotency_key is None:
            return new_ticket()
        # Hashed as parsed, and without defaults: neither whitespace nor a field that a release adds makes another body.
        body = prompt.model_dump_json(exclude_defaults=True).encode()
        return await claimed_ticket(self._claims, caller.workspace_id, idempotency_key, body)

    async def accept(self, caller: Caller, prompt: Prompt, ticket: Ticket) -> UUID:
        """Return the run's id once the broker has the run; it has a day."""
        await self._publish(caller, prompt, ticket, lifetime_ms=DAY_MS)
        metrics.ACCEPTED.labels("async").inc()
        return ticket.run_id

    async def run(self, caller: Caller, prompt: Prompt, ticket: Ticket) -> RunResult:
        """Return the run's result, or raise its error; `StillRunning` when the wait is over."""
        with self._replies.expect(ticket.run_id) as reply:
            lifetime_ms = round(self._wait_seconds * 1000)
            await self._publish(caller, prompt, ticket, lifetime_ms, self._replies.reply_to)
            metrics.ACCEPTED.labels("sync").inc()
            return await self._awaited(caller, ticket, reply)

    async def _publish(
        self, caller: Caller, prompt: Prompt, ticket: Ticket, lifetime_ms: int, reply_to: ReplyTo | None = None
    ) -> None:
        """Publish the run unless the broker has it. Sent again, it keeps its id and time, and gets a new deadline."""
        if ticket.published:
            return
        if ticket.repeated:
            await self._claims.claim_again(ticket.run_id, now_ms())
        deadline = lifetime_ms + (now_ms() if ticket.repeated else ticket.accepted_at)
        request = self._request(caller, prompt, ticket, deadline, reply_to)
        grant = self._grants.shared(caller.workspace_id, prompt.provider, deadline, lifetime_ms)
        try:
            await self._requests.append(request, grant)
        except TooLarge:
            if ticket.named:
                await self._claims.release(ticket.run_id)
            raise
        if ticket.named:
            await self._note_published(ticket.run_id)

    def _request(
        self, caller: Caller, prompt: Prompt, ticket: Ticket, deadline: int, reply_to: ReplyTo | None
    ) -> RunRequested:
        operation, body = prompt.wire(self._providers.find(prompt.provider))
        return RunRequested(
            run_id=ticket.run_id,
            workspace_id=caller.workspace_id,
            user=caller.name,
            operation=operation,
            provider=prompt.provider,
            model=prompt.model,
            body=body,
            prompt_id=prompt.prompt_id,
            labels=prompt.labels,
            reply_to=reply_to,
            deadline=deadline,
            publish_by=self._requests.publish_by(),
            accepted_at=ticket.accepted_at,
        )

    async def _note_published(self, run_id: UUID) -> None:
        """The run is accepted either way: without the note, a repeated request publishes it once more, harmlessly."""
        try:
            await self._claims.mark_published(run_id)
        except Unavailable:
            log.warning("an acknowledgement could not be noted", extra={"run_id": str(run_id)})

    async def _awaited(self, caller: Caller, ticket: Ticket, reply: Reply) -> RunResult:
        try:
            async with asyncio.timeout(self._wait_seconds):
                result = await (self._either(caller, ticket, reply) if ticket.repeated else _replied(reply))
        except TimeoutError:
            metrics.ENDED.labels(StillRunning.code).inc()
            message = f"no result within {self._wait_seconds:g} s; it comes later, at /api/runs/{ticket.run_id}"
            raise StillRunning(message, run_id=str(ticket.run_id)) from None
        except TallyrunError as error:
            metrics.ENDED.labels(error.code).inc()
            raise
        metrics.ENDED.labels("succeeded").inc()
        return result

    async def _either(self, caller: Caller, ticket: Ticket, reply: Reply) -> RunResult:
        """Wait for a repeated run: it may have replied to its first request, and be found only where it is stored."""
        while not reply.done():
            if (stored := await self._finished(caller, ticket)) is not None:
                return result_of_stored(stored)
            await asyncio.wait({reply}, timeout=POLL_SECONDS)
        return result_of(reply.result())

    async def _finished(self, caller: Caller, ticket: Ticket) -> RunDetail | None:
        try:
            return await self._stored.finished(caller.workspace_id, ticket.run_id, ticket.accepted_at)
        except (NotFound, Unavailable):
            return None


async def _replied(reply: Reply) -> RunResult:
    return result_of(await reply)
