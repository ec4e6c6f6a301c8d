"""Leases: a provider key in the clear, for a minute, for a run whose grant covers it. No audit, no reveal."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from pydantic import SecretStr

from common.contracts.credentials_v1 import Lease, LeaseRequest
from common.errors import ApiKeyExpired, GrantRefused, NoApiKey, RunFailed, Unauthenticated
from common.identity import Grant
from common.ids import now_ms
from vault.audit import DONE, AuditEntry
from vault.envelope import Context
from vault.expiry import day
from vault.metrics import LEASES

LONGEST_MS = 60_000
FOR_EVER = 2**63


@dataclass(frozen=True)
class SealedKey:
    """A version that may be leased, still sealed."""

    context: Context
    revision: int
    sealed: bytes
    expires_at: int | None = None
    grant_revoked: bool = False
    """Whether the grant was, under which it was asked for."""


@dataclass(frozen=True)
class Allowed:
    """What a request may have, and for how long."""

    key: SealedKey
    ttl_ms: int


class Transaction(Protocol):
    """What happens together or not at all."""

    async def active(self, workspace_id: UUID, provider: str, key_id: UUID | None, grant_id: UUID) -> SealedKey | None:
        """Return the active version of that key, or of the newest active key."""

    async def pending(self, workspace_id: UUID, provider: str, key_id: UUID, grant_id: UUID) -> SealedKey | None:
        """Return the pending version of that key."""

    async def revoked(self, grant_id: UUID) -> bool:
        """Whether the grant was revoked."""

    async def audit(self, entry: AuditEntry) -> None:
        """Write it down."""


class Store(Protocol):
    """Where keys are kept."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commit at the end of the block, or roll back if it raises."""


class Opener(Protocol):
    """Opens secrets."""

    async def open(self, context: Context, sealed: bytes) -> SecretStr:
        """Return what was sealed for this context."""


class Grants(Protocol):
    """Tells a genuine grant."""

    def grant(self, token: str) -> Grant:
        """Return the grant, or raise `Unauthenticated`."""


class Leases:
    """Decides on leases, and writes every decision down before a secret is opened."""

    def __init__(self, store: Store, opener: Opener, grants: Grants) -> None:
        self._store = store
        self._opener = opener
        self._grants = grants

    async def lease(self, request: LeaseRequest, actor: str) -> Lease:
        """Return the key that the request's grant opens; raise `GrantRefused`, `NoApiKey` or `ApiKeyExpired`."""
        grant = self._genuine(request.grant)
        async with self._store.transaction() as transaction:
            decision = await _decide(transaction, grant, request)
            await transaction.audit(_entry(request, actor, grant, decision))
        LEASES.labels(decision.code if isinstance(decision, RunFailed) else DONE).inc()
        # Past this line the decision is written down for good.
        if isinstance(decision, RunFailed):
            raise decision
        return await self._opened(decision)

    def _genuine(self, token: str) -> Grant | None:
        try:
            return self._grants.grant(token)
        except Unauthenticated:
            return None

    async def _opened(self, allowed: Allowed) -> Lease:
        return Lease(
            secret=await self._opener.open(allowed.key.context, allowed.key.sealed),
            key_id=allowed.key.context.key_id,
            version=allowed.key.context.version,
            revision=allowed.key.revision,
            ttl_ms=allowed.ttl_ms,
        )


async def _decide(transaction: Transaction, grant: Grant | None, request: LeaseRequest) -> Allowed | RunFailed:
    if grant is None:
        return GrantRefused("the grant is not one of the gateway's")
    now = now_ms()
    if (reason := refusal(grant, request, now)) is not None:
        return GrantRefused(reason)
    key = await _find(transaction, grant, request)
    if await transaction.revoked(grant.grant_id) if key is None else key.grant_revoked:
        return GrantRefused("the grant was revoked")
    if key is None:
        return _no_key(request)
    if key.expires_at is not None and key.expires_at <= now:
        return _expired(key.context, key.expires_at)
    return Allowed(key, min(LONGEST_MS, _left_ms(grant, now), (key.expires_at or FOR_EVER) - now))


def refusal(grant: Grant, request: LeaseRequest, now: int) -> str | None:
    """Return why a genuine grant does not cover this request at `now` (UTC ms), or None if it does."""
    if (fault := grant.fault(now / 1000)) is not None:
        return fault
    if request.provider not in grant.providers:
        return f"the grant does not cover provider '{request.provider}'"
    if request.operation not in grant.operations:
        return f"the grant does not cover operation '{request.operation}'"
    if grant.key_id is not None and request.key_id not in (None, grant.key_id):
        return "the grant is for another key"
    if request.operation == "check" and grant.key_id is None:
        return "a check needs a grant for one key alone"
    return None


def _left_ms(grant: Grant, now: int) -> int:
    return grant.expires_at * 1000 - now


async def _find(transaction: Transaction, grant: Grant, request: LeaseRequest) -> SealedKey | None:
    if request.operation == "check" and grant.key_id is not None:
        waiting = await transaction.pending(grant.workspace_id, request.provider, grant.key_id, grant.grant_id)
        if waiting is not None:
            return waiting
    key_id = request.key_id or grant.key_id
    return await transaction.active(grant.workspace_id, request.provider, key_id, grant.grant_id)


def _no_key(request: LeaseRequest) -> NoApiKey:
    if request.operation == "check":
        return NoApiKey(f"there is no key for {request.provider} to check: connect {request.provider} again")
    which = "no active key" if request.key_id is None else f"key {request.key_id} is no active key"
    return NoApiKey(f"{which} for {request.provider}: connect {request.provider} first")


def _expired(key: Context, expires_at: int) -> ApiKeyExpired:
    name = f"key {key.key_id} for {key.provider}"
    return ApiKeyExpired(f"{name} expired on {day(expires_at)}: rotate it, by connecting {key.provider} under its name")


def _entry(request: LeaseRequest, actor: str, grant: Grant | None, decision: Allowed | RunFailed) -> AuditEntry:
    leased = decision.key.context if isinstance(decision, Allowed) else None
    return AuditEntry(
        "lease",
        actor,
        outcome=decision.code if isinstance(decision, RunFailed) else DONE,
        workspace_id=grant.workspace_id if grant else None,
        provider=request.provider,
        key_id=leased.key_id if leased else request.key_id,
        version=leased.version if leased else None,
        grant_id=grant.grant_id if grant else None,
        operation=request.operation,
    )
