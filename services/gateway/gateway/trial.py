"""Trying a provider key: a runner asks the provider for its list of models, which costs nothing."""

import asyncio
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from common.contracts.answers_v1 import Answer
from common.contracts.credentials_v1 import KeyHistory
from common.contracts.runs_v1 import UNVERIFIED, RunCompleted, RunError, RunRequested
from common.errors import ApiKeyRefused, Conflict, InvalidApiKey, Unavailable
from gateway.claims import new_ticket
from gateway.grants import Grants
from gateway.publish import RequestLog
from gateway.replies import Replies
from gateway.results import failure
from gateway.tokens import Caller

NO_MODEL = "-"


class TrialAnswer(Answer):
    """A key in use, tried again just now. `verified` False: the provider has no endpoint to check a key with."""

    verified: bool
    checked_at: datetime


class KeyShelf(Protocol):
    """The vault, as far as trying goes."""

    async def history(self, workspace_id: UUID, key_id: UUID) -> KeyHistory:
        """Return a key with all its versions; raise `NotFound`."""


class Trials:
    """Tries keys: the version that waits to be connected if there is one, else the one in use."""

    def __init__(self, requests: RequestLog, replies: Replies, grants: Grants, wait_seconds: float) -> None:
        self._requests = requests
        self._replies = replies
        self._grants = grants
        self._wait_seconds = wait_seconds

    async def again(self, shelf: KeyShelf, caller: Caller, key_id: UUID) -> TrialAnswer:
        """Try a key in use. Raises `NotFound`, `Conflict` where there is no such use, and what `run` raises."""
        key = (await shelf.history(caller.workspace_id, key_id)).key
        if not key.is_active:
            raise Conflict("this key was deactivated: connect it again under its name")
        check = await self._check(caller, key.provider, key_id)
        if check.key_version not in (None, key.version):
            raise Conflict("this key is being rotated, and the new secret was tried: look at the list")
        return TrialAnswer(verified=_verified(check), checked_at=datetime.now(UTC))

    async def run(self, caller: Caller, provider: str, key_id: UUID) -> bool:
        """Return whether the provider accepts the key, False where it has no way to say.

        Raises `ApiKeyRefused`, or why it could not be asked.
        """
        return _verified(await self._check(caller, provider, key_id))

    async def _check(self, caller: Caller, provider: str, key_id: UUID) -> RunCompleted:
        request = self._request(caller, provider, key_id)
        return await self._checked(
            request, self._grants.for_key(caller.workspace_id, provider, request.deadline, key_id)
        )

    async def _checked(self, request: RunRequested, grant: str) -> RunCompleted:
        try:
            with self._replies.expect(request.run_id) as reply:
                await self._requests.append(request, grant)
                async with asyncio.timeout(self._wait_seconds):
                    return await reply
        except TimeoutError:
            message = f"the key could not be tried within {self._wait_seconds:g} s; nothing was changed"
            raise Unavailable(message, retry_after=5) from None
        except Unavailable as error:
            error.run_id = None  # a check is no run: there is nothing to ask for later
            raise

    def _request(self, caller: Caller, provider: str, key_id: UUID) -> RunRequested:
        ticket = new_ticket()
        return RunRequested(
            run_id=ticket.run_id,
            workspace_id=caller.workspace_id,
            user=caller.name,
            operation="check",
            provider=provider,
            model=NO_MODEL,
            body={},
            key_id=key_id,
            reply_to=self._replies.reply_to,
            deadline=ticket.accepted_at + round(self._wait_seconds * 1000),
            publish_by=self._requests.publish_by(),
            accepted_at=ticket.accepted_at,
        )


def _verified(check: RunCompleted) -> bool:
    if check.status == "succeeded":
        return check.finish_reason != UNVERIFIED
    error = failure(check.error or RunError(code="run_failed", message="the check failed"), run_id=None)
    raise ApiKeyRefused("Invalid API key") if isinstance(error, InvalidApiKey) else error
