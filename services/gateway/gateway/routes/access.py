"""`/api/workspaces` and `/api/tokens`: who may do what, where."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from common.contracts.answers_v1 import Answer, Success
from common.errors import Forbidden
from gateway.moment import Moment
from gateway.routes.wire import Asked, Done, Named, body_of, data, done, read
from gateway.store import Store, Token, Workspace
from gateway.tokens import Role, Tokens, hashed, new_secret


def _ahead(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise PydanticCustomError("ahead", "it must lie in the future")
    return moment


class NewWorkspace(Asked):
    """A workspace to create."""

    name: Named


class NewToken(Asked):
    """A token to issue. `name` is the user that its runs count for; without `expires_at` it holds until revoked."""

    name: Named
    role: Role
    expires_at: Annotated[Moment, AfterValidator(_ahead)] | None = None
    workspace_id: UUID | None = None


class WorkspaceAnswer(Answer):
    """One workspace."""

    id: str
    name: str
    created_at: datetime


class TokenAnswer(Answer):
    """One token, without its secret. `operator`: it is the one in the operator's file, and is not revoked here."""

    id: str
    workspace_id: str
    name: str
    role: str
    operator: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class IssuedToken(TokenAnswer):
    """One token with its secret, which is shown this once."""

    token: str


class AccessRoutes:
    """Workspaces are the operator's business; tokens that of each workspace's admins."""

    def __init__(self, tokens: Tokens, store: Store) -> None:
        self._tokens = tokens
        self._store = store
        self.router = APIRouter(prefix="/api", tags=["access"])
        add = self.router.add_api_route
        new: dict[str, Any] = {"methods": ["POST"], "status_code": 201}
        created, issued = Success[WorkspaceAnswer], Success[IssuedToken]
        add("/workspaces", self.create_workspace, **new, response_model=created, openapi_extra=body_of(NewWorkspace))
        add("/workspaces", self.workspaces, methods=["GET"], response_model=Success[list[WorkspaceAnswer]])
        add("/tokens", self.issue_token, **new, response_model=issued, openapi_extra=body_of(NewToken))
        add("/tokens", self.tokens, methods=["GET"], response_model=Success[list[TokenAnswer]])
        add("/tokens/{token_id}", self.revoke_token, methods=["DELETE"], response_model=Done)

    async def create_workspace(self, request: Request) -> Response:
        """Create a workspace (the operator alone)."""
        caller = await self._tokens.caller(request, "admin")
        if not caller.operator:
            raise Forbidden("only the operator may create workspaces")
        return data(_workspace(await self._store.add_workspace((await read(request, NewWorkspace)).name)), 201)

    async def workspaces(self, request: Request) -> Response:
        """Answer the caller's workspace; the operator's answer lists all."""
        caller = await self._tokens.caller(request, "viewer")
        found = await self._store.workspaces(None if caller.operator else caller.workspace_id)
        return data([_workspace(workspace) for workspace in found])

    async def issue_token(self, request: Request) -> Response:
        """Issue a token for the caller's workspace; the operator may name any."""
        caller = await self._tokens.caller(request, "admin")
        asked = await read(request, NewToken)
        secret = new_secret()
        workspace_id = caller.acting_for(asked.workspace_id)
        token = await self._store.add_token(workspace_id, asked.name, asked.role, hashed(secret), asked.expires_at)
        return data(IssuedToken(**vars(_token(token)), token=secret), 201)

    async def tokens(
        self, request: Request, workspace_id: Annotated[UUID | None, Query(alias="workspaceId")] = None
    ) -> Response:
        """Answer the workspace's tokens, without their secrets."""
        caller = await self._tokens.caller(request, "admin")
        found = await self._store.tokens(caller.acting_for(workspace_id))
        return data([_token(token) for token in found])

    async def revoke_token(self, request: Request, token_id: UUID) -> Response:
        """Revoke a token, within a few seconds everywhere."""
        caller = await self._tokens.caller(request, "admin")
        await self._store.revoke_token(token_id, None if caller.operator else caller.workspace_id)
        self._tokens.forget()
        return done("token revoked")


def _workspace(row: Workspace) -> WorkspaceAnswer:
    return WorkspaceAnswer(id=str(row.id), name=row.name, created_at=row.created_at)


def _token(row: Token) -> TokenAnswer:
    return TokenAnswer(
        id=str(row.id),
        workspace_id=str(row.workspace_id),
        name=row.name,
        role=row.role,
        operator=row.operator,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
