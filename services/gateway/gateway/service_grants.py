"""Grants for internal services that publish runs themselves: issued by an admin, listed, revocable at once."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from uuid import UUID

from common.errors import InvalidRequest
from common.identity import LONGEST_GRANT_DAYS, Signer
from common.ids import new_id
from common.providers import Providers

LONGEST = timedelta(days=LONGEST_GRANT_DAYS)

State = Literal["active", "expired", "revoked"]


@dataclass(frozen=True)
class ServiceGrant:
    """What is kept of a grant: never the token itself."""

    id: UUID
    workspace_id: UUID
    name: str
    providers: tuple[str, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None

    @property
    def state(self) -> State:
        """Whether it holds now. "revoked" is said only of what every runner was told of."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if datetime.now(UTC) < self.expires_at else "expired"


class GrantStore(Protocol):
    """Where they are listed."""

    async def add_grant(self, grant: ServiceGrant) -> None:
        """Store it; raise `NotFound` if there is no such workspace."""

    async def grant(self, grant_id: UUID, workspace_id: UUID | None) -> ServiceGrant:
        """Return the grant of this workspace (None: of any), or raise `NotFound`."""

    async def mark_grant_revoked(self, grant_id: UUID) -> None:
        """Note that it was revoked."""


class Revoker(Protocol):
    """The vault, as far as revoking goes."""

    async def revoke(self, workspace_id: UUID, grant_id: UUID, actor: str) -> None:
        """End the grant: on return no lease is given on it, and the broker has the news for every runner."""


class ServiceGrants:
    """Issues and revokes them."""

    def __init__(self, signer: Signer, store: GrantStore, vault: Revoker, providers: Providers) -> None:
        self._signer = signer
        self._store = store
        self._vault = vault
        self._providers = providers

    async def issue(
        self, workspace_id: UUID, name: str, providers: tuple[str, ...], expires_at: datetime, created_by: str
    ) -> tuple[ServiceGrant, str]:
        """Return the new grant, and its token: there is no second time to see that."""
        for provider in providers:
            self._providers.find(provider)
        now = datetime.now(UTC)
        if not now < expires_at <= now + LONGEST:
            raise InvalidRequest(f"expiresAt: it must lie in the future, by at most {LONGEST.days} days")
        seconds = int(expires_at.timestamp())
        grant = ServiceGrant(
            id=new_id(),
            workspace_id=workspace_id,
            name=name,
            providers=providers,
            created_by=created_by,
            created_at=now,
            expires_at=datetime.fromtimestamp(seconds, UTC),
        )
        await self._store.add_grant(grant)
        return grant, self._signer.grant(workspace_id, providers, seconds, grant_id=grant.id)

    async def revoke(self, grant_id: UUID, workspace_id: UUID | None, actor: str) -> None:
        """End a grant of this workspace (None: of any). Raises `NotFound`, and `Unavailable`: then repeat it."""
        grant = await self._store.grant(grant_id, workspace_id)
        await self._vault.revoke(grant.workspace_id, grant.id, actor)
        await self._store.mark_grant_revoked(grant.id)
