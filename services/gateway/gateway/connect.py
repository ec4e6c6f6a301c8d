"""Connecting a provider key: saved as pending, tried at the provider, then activated or erased."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pydantic import SecretStr

from common.contracts.credentials_v1 import Activate, SavedKey, SaveKey
from common.contracts.runs_v1 import UNVERIFIED, RunCompleted, RunError, RunRequested
from common.errors import ApiKeyRefused, InvalidApiKey, TallyrunError, Unavailable
from common.providers import Providers
from gateway import metrics
from gateway.claims import new_ticket
from gateway.grants import Grants
from gateway.publish import RequestLog
from gateway.replies import Replies
from gateway.results import failure
from gateway.tokens import Caller

log = logging.getLogger(__name__)

NO_MODEL = "-"


@dataclass(frozen=True)
class NewKey:
    """A key as its owner hands it in. `expires_at` is UTC ms."""

    provider: str
    name: str
    secret: SecretStr
    expires_at: int | None = None


class KeyKeeper(Protocol):
    """The vault, as far as connecting goes."""

    async def save(self, workspace_id: UUID, key: SaveKey) -> SavedKey:
        """Save a key version that waits to be checked."""

    async def activate(self, workspace_id: UUID, saved: SavedKey, decision: Activate) -> None:
        """Let runs use it."""

    async def erase(self, workspace_id: UUID, saved: SavedKey) -> None:
        """Forget it."""


class Waiting(Protocol):
    """What waits for a key."""

    async def resume_all(self, workspace_id: UUID, provider: str) -> None:
        """Resume what was paused for want of a key at this provider."""


class Connecting:
    """Connects keys. The secret goes to the vault and nowhere else."""

    def __init__(
        self,
        *,
        vault: KeyKeeper,
        requests: RequestLog,
        replies: Replies,
        grants: Grants,
        providers: Providers,
        batches: Waiting,
        wait_seconds: float,
    ) -> None:
        self._batches = batches
        self._vault = vault
        self._requests = requests
        self._replies = replies
        self._grants = grants
        self._providers = providers
        self._wait_seconds = wait_seconds

    async def connect(self, caller: Caller, key: NewKey) -> None:
        """Return once the key is active; else nothing is saved, and the error says why."""
        self._providers.find(key.provider)
        try:
            await self._connect(caller, key)
        except TallyrunError as error:
            metrics.CONNECTS.labels(error.code).inc()
            raise
        metrics.CONNECTS.labels("connected").inc()
        await self._resume(caller, key.provider)

    async def _resume(self, caller: Caller, provider: str) -> None:
        """Let batches go on that waited for this key; it is connected either way."""
        try:
            await self._batches.resume_all(caller.workspace_id, provider)
        except Unavailable as error:
            log.warning("batches that waited for a key have to be resumed by hand: %s", error.message)

    async def _connect(self, caller: Caller, key: NewKey) -> None:
        save = SaveKey(
            provider=key.provider, name=key.name, secret=key.secret, actor=caller.name, expires_at=key.expires_at
        )
        saved = await self._vault.save(caller.workspace_id, save)
        try:
            verified = await self._verified(caller, key.provider, saved)
        except TallyrunError:
            await self._erase(caller, saved)
            raise
        await self._vault.activate(caller.workspace_id, saved, Activate(verified=verified, actor=caller.name))

    async def _verified(self, caller: Caller, provider: str, saved: SavedKey) -> bool:
        """Return whether the provider accepted the key, False where it cannot say; raise where it refused."""
        check = await self._checked(caller, provider, saved)
        if check.status == "succeeded":
            return check.finish_reason != UNVERIFIED
        error = failure(check.error or RunError(code="run_failed", message="the check failed"), run_id=None)
        if isinstance(error, InvalidApiKey):
            raise ApiKeyRefused("Invalid API key")
        raise error

    async def _checked(self, caller: Caller, provider: str, saved: SavedKey) -> RunCompleted:
        request = self._check(caller, provider, saved)
        grant = self._grants.for_key(caller.workspace_id, provider, request.deadline, saved.key_id)
        try:
            with self._replies.expect(request.run_id) as reply:
                await self._requests.append(request, grant)
                async with asyncio.timeout(self._wait_seconds):
                    return await reply
        except TimeoutError:
            message = f"the key could not be tried within {self._wait_seconds:g} s; nothing was saved"
            raise Unavailable(message, retry_after=5) from None
        except Unavailable as error:
            error.run_id = None  # a check is no run: there is nothing to ask for later
            raise

    def _check(self, caller: Caller, provider: str, saved: SavedKey) -> RunRequested:
        ticket = new_ticket()
        return RunRequested(
            run_id=ticket.run_id,
            workspace_id=caller.workspace_id,
            user=caller.name,
            operation="check",
            provider=provider,
            model=NO_MODEL,
            body={},
            key_id=saved.key_id,
            reply_to=self._replies.reply_to,
            deadline=ticket.accepted_at + round(self._wait_seconds * 1000),
            publish_by=self._requests.publish_by(),
            accepted_at=ticket.accepted_at,
        )

    async def _erase(self, caller: Caller, saved: SavedKey) -> None:
        """Erase the pending key; where that fails, the vault sweeps it later."""
        try:
            await self._vault.erase(caller.workspace_id, saved)
        except TallyrunError as error:
            log.warning("a refused key waits for the vault's sweep", extra={"error": error.message})
