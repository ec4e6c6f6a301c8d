"""The lease on a batch: who holds it feeds it, and nobody else's records count."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from common.errors import Unavailable
from gateway.batches.batch import Batch, Claimed, State

log = logging.getLogger(__name__)

LEASE_MS = 15_000
HEARTBEAT_SECONDS = 0.5
"""Also how soon an owner hears of what was asked of its batch elsewhere."""

FENCE_MS = 5_000
"""What is published on a lease is void from so long before its end: clocks may differ by that."""


class LeaseLost(Exception):
    """The batch may be another replica's by now."""


class Owned(Protocol):
    """Where batches are kept, as far as their owners go. Nothing changes once not owned."""

    async def hold(self, batch_id: str, owner: str, lease_ms: int, **values: Any) -> Claimed | None:
        """Renew the lease, change the values, and return the batch; None if it is not this owner's any more."""

    async def advance(self, batch_id: str, owner: str, states: tuple[State, ...], **values: Any) -> bool:
        """Change an owned batch that is in one of these states; False if it is in another, or not owned any more."""


class Lease:
    """One owned batch, as it stood at the last heartbeat."""

    def __init__(self, claimed: Claimed, owner: str, records: Owned) -> None:
        self.batch: Batch = claimed.batch
        self.owned_until = claimed.owned_until
        self.told: Callable[[], dict[str, Any]] = dict
        """Returns what each heartbeat stores."""

        self._until = claimed.lease_until
        self.owner = owner
        self._records = records
        self._safe_until = time.monotonic() + LEASE_MS / 1000
        self._one_at_a_time = asyncio.Lock()

    @property
    def publish_by(self) -> int:
        """Return until when a record may be appended (UTC ms)."""
        return self._until - FENCE_MS

    async def keep(self) -> None:
        """Renew the lease for ever; raise `LeaseLost`."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                async with self._one_at_a_time:
                    await self._renew()
            except Unavailable as error:
                log.warning("a lease could not be renewed: %s", error.message)
                if time.monotonic() >= self._safe_until:
                    raise LeaseLost from error

    async def advance(self, states: tuple[State, ...], **values: Any) -> bool:
        """Change the batch if it is in one of these states, and see it so; False if it is in another."""
        async with self._one_at_a_time:  # a heartbeat from before must not be taken for one from after
            advanced = await self._records.advance(self.batch.id, self.owner, states, **values)
            await self._renew()
        return advanced

    async def _renew(self) -> None:
        began = time.monotonic()
        held = await self._records.hold(self.batch.id, self.owner, LEASE_MS, **self.told())
        if held is None:
            raise LeaseLost
        self.batch, self._until = held.batch, held.lease_until
        self._safe_until = began + LEASE_MS / 1000
