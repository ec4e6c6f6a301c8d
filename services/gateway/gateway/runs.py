"""Runs: accepted once the broker has them, and waited for where the caller asks for that."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from uuid import UUID

from common.contracts.answers_v1 import RunDetail
from common.contracts.runs_v1 import Operation, ReplyTo, RunRequested
from common.contracts.topics import DAY_MS
from common.errors import InvalidRequest, NotFound, StillRunning, TallyrunError, TooLarge, Unavailable
from common.ids import now_ms
from common.providers import Providers, ProviderSpec
from common.telemetry import about
from gateway import metrics
from gateway.claims import ClaimStore, Ticket, claimed_ticket, new_ticket
from gateway.grants import Grants
from gateway.load import Load
from gateway.nesting import check_nesting
from gateway.publish import RequestLog
from gateway.quota.quota import Quota
from gateway.replies import Pieces, Replies, Reply
from gateway.results import End, check_succeeded
from gateway.tokens import Caller

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25


class StoredRuns(Protocol):
    """Where finished runs can be asked for."""

    async def finished(self, workspace_id: UUID, run_id: UUID, accepted_at: int) -> RunDetail | None:
        """Return the run, or None while it has not ended."""


class Ask(Protocol):
    """What somebody wants run."""

    @property
    def provider(self) -> str:
        """The name of a known provider."""

    @property
    def model(self) -> str:
        """What that calls the model."""

    @property
    def prompt_id(self) -> str | None:
        """What its costs are grouped by."""

    @property
    def labels(self) -> dict[str, str]:
        """What else they are grouped by."""

    def wire(self, provider: ProviderSpec) -> tuple[Operation, dict[str, Any]]:
        """Return the operation of the provider's wire format, and the request's body in it."""

    def identity(self) -> bytes:
        """Return what makes it the same request when it is sent again."""


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
        quota: Quota,
        load: Load,
        sync_wait_seconds: float,
    ) -> None:
        self._requests = requests
        self._replies = replies
        self._grants = grants
        self._claims = claims
        self._stored = stored
        self._providers = providers
        self._quota = quota
        self._load = load
        self._wait_seconds = sync_wait_seconds

    async def ticket(self, caller: Caller, ask: Ask, idempotency_key: str | None) -> Ticket:
        """Return a new run's ticket, or that of the run which the workspace gave this key to.

        Raises `QuotaExceeded`, before anything is claimed.
        """
        self._providers.find(ask.provider)
        await self._quota.admit(caller.workspace_id)
        if idempotency_key is None:
            return new_ticket()
        ticket = await claimed_ticket(self._claims, caller.workspace_id, idempotency_key, ask.identity())
        if ticket.published:
            self._quota.give_back(caller.workspace_id)
        return ticket

    async def accept(self, caller: Caller, ask: Ask, ticket: Ticket) -> UUID:
        """Return the run's id once the broker has the run; it has a day."""
        await self._publish(caller, ask, ticket, lifetime_ms=DAY_MS)
        metrics.ACCEPTED.labels("async").inc()
        return ticket.run_id

    async def run(self, caller: Caller, ask: Ask, ticket: Ticket) -> End:
        """Return how the run succeeded, or raise its error; `StillRunning` when the wait is over."""
        with self._replies.expect(ticket.run_id) as reply:
            await self._publish(caller, ask, ticket, round(self._wait_seconds * 1000), self._replies.reply_to)
            metrics.ACCEPTED.labels("sync").inc()
            with self._load.waiting():
                return await self._awaited(caller, ticket, reply)

    @asynccontextmanager
    async def followed(self, caller: Caller, ask: Ask, ticket: Ticket) -> AsyncIterator[Pieces]:
        """Yield what the runner tells of the run while it is carried out, its end the last."""
        with self._replies.follow(ticket.run_id) as pieces:
            await self._publish(caller, ask, ticket, round(self._wait_seconds * 1000), self._replies.reply_to)
            metrics.ACCEPTED.labels("stream").inc()
            with self._load.waiting():
                yield pieces

    async def _publish(
        self, caller: Caller, ask: Ask, ticket: Ticket, lifetime_ms: int, reply_to: ReplyTo | None = None
    ) -> None:
        """Publish the run unless the broker has it. Sent again, it keeps its id and time, and gets a new deadline."""
        about(ticket.run_id, caller.workspace_id, ask.provider, ask.model)
        if ticket.published:
            return
        if ticket.repeated:
            await self._claims.claim_again(ticket.run_id, now_ms())
        deadline = lifetime_ms + (now_ms() if ticket.repeated else ticket.accepted_at)
        grant = self._grants.shared(caller.workspace_id, ask.provider, deadline, lifetime_ms)
        try:
            request = self._request(caller, ask, ticket, deadline, reply_to)
            await self._requests.append(request, grant, most_bytes=await self._quota.body_bytes(caller.workspace_id))
        except (InvalidRequest, TooLarge):
            if ticket.named:
                await self._claims.release(ticket.run_id)
            raise
        if ticket.named:
            await self._note_published(ticket.run_id)

    def _request(
        self, caller: Caller, ask: Ask, ticket: Ticket, deadline: int, reply_to: ReplyTo | None
    ) -> RunRequested:
        operation, body = ask.wire(self._providers.find(ask.provider))
        check_nesting(body)
        return RunRequested(
            run_id=ticket.run_id,
            workspace_id=caller.workspace_id,
            user=caller.name,
            operation=operation,
            provider=ask.provider,
            model=ask.model,
            body=body,
            prompt_id=ask.prompt_id,
            labels=ask.labels,
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

    async def _awaited(self, caller: Caller, ticket: Ticket, reply: Reply) -> End:
        try:
            async with asyncio.timeout(self._wait_seconds):
                end = await (self._either(caller, ticket, reply) if ticket.repeated else reply)
            check_succeeded(end)
        except TimeoutError:
            metrics.ENDED.labels(StillRunning.code).inc()
            raise self.still_running(ticket) from None
        except TallyrunError as error:
            metrics.ENDED.labels(error.code).inc()
            raise
        metrics.ENDED.labels("succeeded").inc()
        return end

    def still_running(self, ticket: Ticket) -> StillRunning:
        """Return the error of a wait that is over."""
        message = f"no result within {self._wait_seconds:g} s; it comes later, at /api/runs/{ticket.run_id}"
        return StillRunning(message, run_id=str(ticket.run_id))

    async def _either(self, caller: Caller, ticket: Ticket, reply: Reply) -> End:
        """Wait for a repeated run: it may have replied to its first request, and be found only where it is stored."""
        while not reply.done():
            if (stored := await self._finished(caller, ticket)) is not None:
                return stored
            await asyncio.wait({reply}, timeout=POLL_SECONDS)
        return reply.result()

    async def _finished(self, caller: Caller, ticket: Ticket) -> RunDetail | None:
        try:
            return await self._stored.finished(caller.workspace_id, ticket.run_id, ticket.accepted_at)
        except (NotFound, Unavailable):
            return None
