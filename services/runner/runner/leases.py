"""Provider keys on loan: fetched once for many runs, dropped the moment the vault says so (V4)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID

from common.contracts.credentials_v1 import Lease, LeaseRequest
from common.contracts.runs_v1 import RunRequested
from common.errors import GrantRefused
from common.identity import Grant
from common.singleflight import Singleflight
from common.telemetry import TRACING
from runner.metrics import FETCHED, HELD

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 10_000
"""Leases, evictions and revocations kept at most; the oldest go first."""

Slot = tuple[UUID, str, UUID | None]
"""(grant id, provider, key id): what a lease is for."""


class Vault(Protocol):
    """Where leases come from."""

    async def lease(self, request: LeaseRequest) -> Lease:
        """Return a lease, or raise the vault's refusal."""


@dataclass(frozen=True)
class _Held:
    lease: Lease
    expires: float


class Leases:
    """The leases this runner holds, each at most as long as the vault said."""

    def __init__(self, vault: Vault, clock: Callable[[], float] = time.monotonic) -> None:
        self._vault = vault
        self._clock = clock
        self._held: dict[Slot, _Held] = {}
        self._fetches: Singleflight[Lease] = Singleflight()
        self._evicted: dict[UUID, int] = {}
        self._revoked: dict[UUID, None] = {}

    async def get(self, run: RunRequested, grant: Grant, token: str) -> Lease:
        """Return a lease for the run, or raise `GrantRefused`, or what the vault refuses with.

        Runs that need the same one at the same time share one call to the vault.
        """
        self._check(grant.grant_id)
        slot = (grant.grant_id, run.provider, run.key_id)
        held = self._held.get(slot)
        if held is not None and self._clock() < held.expires:
            HELD.inc()
            return held.lease
        FETCHED.inc()
        request = LeaseRequest(grant=token, provider=run.provider, operation=run.operation, key_id=run.key_id)
        with TRACING.span("lease"):
            lease = await self._fetches.ask(slot, lambda: self._fetch(slot, request))
        self._check(grant.grant_id)  # it may have been revoked while the lease was on its way
        return lease

    def evict(self, key_id: UUID, revision: int) -> None:
        """Drop every lease of this key older than that revision, one that is still on its way included."""
        _remember(self._evicted, key_id, max(revision, self._evicted.get(key_id, 0)))
        self._held = {slot: held for slot, held in self._held.items() if not self._overtaken(held.lease)}

    def revoke(self, grant_id: UUID) -> None:
        """Drop every lease of this grant, and refuse it from now on; past what is remembered, the vault refuses."""
        _remember(self._revoked, grant_id, None)
        self._held = {slot: held for slot, held in self._held.items() if slot[0] != grant_id}

    def forget(self) -> None:
        """Drop every lease."""
        self._held = {}

    def drop(self, lease: Lease) -> None:
        """Forget a lease whose key the provider refused: the next run asks the vault again."""
        self._held = {slot: held for slot, held in self._held.items() if held.lease is not lease}

    async def _fetch(self, slot: Slot, request: LeaseRequest) -> Lease:
        asked = self._clock()
        lease = await self._vault.lease(request)
        if self._overtaken(lease):  # by an eviction, on its way here
            asked = self._clock()
            lease = await self._vault.lease(request)
        _remember(self._held, slot, _Held(lease, asked + lease.ttl_ms / 1000))
        return lease

    def _check(self, grant_id: UUID) -> None:
        if grant_id in self._revoked:
            raise GrantRefused("the run's grant was revoked")

    def _overtaken(self, lease: Lease) -> bool:
        return lease.revision < self._evicted.get(lease.key_id, 0)


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > REMEMBERED:
        del memory[next(iter(memory))]
