"""`/api/grants`: what internal services may publish on."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from common.contracts.answers_v1 import Answer, Success
from gateway.moment import Moment
from gateway.routes.wire import Asked, Done, Named, body_of, data, done, read
from gateway.service_grants import ServiceGrant, ServiceGrants, State
from gateway.store import Store
from gateway.tokens import Tokens

MOST_PROVIDERS = 32
"""So that a grant's token stays within what the vault takes."""


class NewGrant(Asked):
    """A grant to issue. `name` tells whom it is for; it ends at `expiresAt`, at most 30 days ahead."""

    name: Named
    providers: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...], Field(min_length=1, max_length=MOST_PROVIDERS)
    ]
    expires_at: Moment
    workspace_id: UUID | None = None


class GrantAnswer(Answer):
    """One grant, without its token."""

    id: str
    workspace_id: str
    name: str
    providers: list[str]
    state: State
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class IssuedGrant(GrantAnswer):
    """A new grant: the token is shown this once."""

    grant: str


class GrantRoutes:
    """Issues, lists and revokes grants."""

    def __init__(self, tokens: Tokens, grants: ServiceGrants, store: Store) -> None:
        self._tokens = tokens
        self._grants = grants
        self._store = store
        self.router = APIRouter(prefix="/api/grants", tags=["access"])
        add, issued, asked = self.router.add_api_route, Success[IssuedGrant], body_of(NewGrant)
        add("", self.issue, methods=["POST"], status_code=201, response_model=issued, openapi_extra=asked)
        add("", self.list, methods=["GET"], response_model=Success[list[GrantAnswer]])
        add("/{grant_id}", self.revoke, methods=["DELETE"], response_model=Done)

    async def issue(self, request: Request) -> Response:
        """Issue a grant for the caller's workspace; the operator may name any."""
        caller = await self._tokens.caller(request, "admin")
        asked = await read(request, NewGrant)
        workspace_id = caller.acting_for(asked.workspace_id)
        grant, token = await self._grants.issue(
            workspace_id, asked.name, asked.providers, asked.expires_at, caller.name
        )
        return data(IssuedGrant(**vars(_answer(grant)), grant=token), 201)

    async def list(
        self, request: Request, workspace_id: Annotated[UUID | None, Query(alias="workspaceId")] = None
    ) -> Response:
        """Answer the workspace's grants, without their tokens."""
        caller = await self._tokens.caller(request, "admin")
        return data([_answer(grant) for grant in await self._store.grants(caller.acting_for(workspace_id))])

    async def revoke(self, request: Request, grant_id: UUID) -> Response:
        """Revoke a grant: no lease is given on it any more, and within a second no call starts on one."""
        caller = await self._tokens.caller(request, "admin")
        await self._grants.revoke(grant_id, None if caller.operator else caller.workspace_id, caller.name)
        return done("grant revoked")


def _answer(grant: ServiceGrant) -> GrantAnswer:
    return GrantAnswer(
        id=str(grant.id),
        workspace_id=str(grant.workspace_id),
        name=grant.name,
        providers=list(grant.providers),
        state=grant.state,
        created_by=grant.created_by,
        created_at=grant.created_at,
        expires_at=grant.expires_at,
        revoked_at=grant.revoked_at,
    )
