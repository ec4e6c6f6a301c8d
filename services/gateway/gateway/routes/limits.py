"""`/api/workspaces/{id}/limits`: what a workspace may use, and how much of it it does."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from common.contracts.answers_v1 import Answer, Success
from common.contracts.topics import MAX_BODY_BYTES
from common.errors import Forbidden
from gateway.quota.limits import SLOWEST, Limits
from gateway.quota.use import Uses
from gateway.routes.wire import Asked, body_of, data, read
from gateway.tokens import Tokens

LARGEST = 2**53
"""Integers up to here are the same in every reader of JSON."""

Count = Annotated[int, Field(ge=1, le=LARGEST)]


class NewLimits(Asked):
    """All limits of a workspace. What is missing or null is as the operator's settings say."""

    runs_per_second: Annotated[float, Field(ge=SLOWEST, le=1_000_000)] | None = None
    burst_runs: Count | None = None
    waiting_runs: Count | None = None
    stored_bytes: Count | None = None
    body_bytes: Annotated[int, Field(ge=1024, le=MAX_BODY_BYTES)] | None = None


class Limit(Answer):
    """One limit (null: none), how much of it is used (null: nobody can tell now), and whether the settings say so."""

    limit: float | None
    used: float | None
    default: bool


class LimitsAnswer(Answer):
    """Every limit. Of `runsPerSecond`, `used` is what is missing from a full burst; `burstRuns` is that burst."""

    workspace_id: str
    runs_per_second: Limit
    burst_runs: Limit
    waiting_runs: Limit
    stored_bytes: Limit
    body_bytes: Limit


class LimitRoutes:
    """The operator sets limits; whoever belongs to the workspace sees them."""

    def __init__(self, tokens: Tokens, uses: Uses) -> None:
        self._tokens = tokens
        self._uses = uses
        self.router = APIRouter(prefix="/api/workspaces/{workspace_id}/limits", tags=["limits"])
        add, answer = self.router.add_api_route, Success[LimitsAnswer]
        add("", self.show, methods=["GET"], response_model=answer)
        add("", self.set, methods=["PUT"], response_model=answer, openapi_extra=body_of(NewLimits))

    async def show(self, request: Request, workspace_id: UUID) -> Response:
        """Answer the workspace's limits and its use of them."""
        caller = await self._tokens.caller(request, "viewer")
        return await self._answer(caller.acting_for(workspace_id))

    async def set(self, request: Request, workspace_id: UUID) -> Response:
        """Set all limits of a workspace (the operator alone); within seconds every replica keeps to them."""
        caller = await self._tokens.caller(request, "admin")
        if not caller.operator:
            raise Forbidden("only the operator may set limits")
        await self._uses.set(workspace_id, Limits(**(await read(request, NewLimits)).model_dump()))
        return await self._answer(workspace_id)

    async def _answer(self, workspace_id: UUID) -> Response:
        use = await self._uses.of(workspace_id)
        own, limits = use.own, use.limits
        shown = {
            name: Limit(limit=getattr(limits, name), used=use.used.get(name), default=getattr(own, name) is None)
            for name in Limits.__dataclass_fields__
        }
        return data(LimitsAnswer(workspace_id=str(workspace_id), **shown))
