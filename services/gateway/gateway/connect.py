"""Connecting a provider key: saved as pending, tried at the provider, then activated or erased."""

import logging
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pydantic import SecretStr

from common.contracts.credentials_v1 import Activate, SavedKey, SaveKey
from common.errors import TallyrunError, Unavailable
from common.providers import Providers
from gateway import metrics
from gateway.tokens import Caller
from gateway.trial import Trials

log = logging.getLogger(__name__)


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

    def __init__(self, vault: KeyKeeper, trials: Trials, providers: Providers, batches: Waiting) -> None:
        self._vault = vault
        self._trials = trials
        self._providers = providers
        self._batches = batches

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
            verified = await self._trials.run(caller, key.provider, saved.key_id)
        except TallyrunError:
            await self._erase(caller, saved)
            raise
        await self._vault.activate(caller.workspace_id, saved, Activate(verified=verified, actor=caller.name))

    async def _erase(self, caller: Caller, saved: SavedKey) -> None:
        """Erase the pending key; where that fails, the vault sweeps it later."""
        try:
            await self._vault.erase(caller.workspace_id, saved)
        except TallyrunError as error:
            log.warning("a refused key waits for the vault's sweep", extra={"error": error.message})
