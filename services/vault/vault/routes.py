"""HTTP in: who may call what, and nothing else."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from common.contracts.credentials_v1 import Activate, KeyHistory, KeyView, LeaseRequest, SavedKey, SaveKey
from common.contracts.runs_v1 import Name
from common.errors import Forbidden
from common.http import bearer, json_response
from common.identity import Verifier
from vault.keys import Keys
from vault.leases import Leases

AUDIENCE = "vault"
NO_STORE = {"cache-control": "no-store"}


def only(service: str, verifier: Verifier) -> Callable[[Request], Awaitable[str]]:
    """Return a dependency that lets this one service in and returns its name; others are `Forbidden`."""

    async def caller(request: Request) -> str:
        name = verifier.service(bearer(request), AUDIENCE)
        if name != service:
            raise Forbidden(f"{name} may not call this: only {service} may")
        return name

    return caller


def key_routes(keys: Keys, verifier: Verifier) -> APIRouter:
    """Return what the gateway may call."""
    router = APIRouter(
        prefix="/workspaces/{workspace_id}/keys", tags=["keys"], dependencies=[Depends(only("gateway", verifier))]
    )

    @router.post("", status_code=201)
    async def save(workspace_id: UUID, body: SaveKey) -> SavedKey:
        return await keys.save(workspace_id, body)

    @router.get("")
    async def list_keys(workspace_id: UUID) -> list[KeyView]:
        return await keys.list(workspace_id)

    @router.get("/{key_id}")
    async def history(workspace_id: UUID, key_id: UUID) -> KeyHistory:
        return await keys.history(workspace_id, key_id)

    @router.post("/{key_id}/versions/{version}/activate")
    async def activate(workspace_id: UUID, key_id: UUID, version: int, body: Activate) -> KeyView:
        return await keys.activate(workspace_id, key_id, version, body)

    @router.delete("/{key_id}/versions/{version}", status_code=204)
    async def erase(workspace_id: UUID, key_id: UUID, version: int) -> None:
        await keys.erase(workspace_id, key_id, version, actor="gateway")

    @router.delete("/{key_id}", status_code=204)
    async def deactivate(workspace_id: UUID, key_id: UUID, actor: Annotated[Name, Query()]) -> None:
        await keys.deactivate(workspace_id, key_id, actor)

    return router


def lease_routes(leases: Leases, verifier: Verifier) -> APIRouter:
    """Return what a runner may call."""
    router = APIRouter(tags=["leases"])
    runner = only("runner", verifier)

    @router.post("/leases")
    async def lease(body: LeaseRequest, caller: Annotated[str, Depends(runner)]) -> Response:
        leased = await leases.lease(body, caller)
        return json_response(leased.model_dump_json().encode(), headers=NO_STORE)

    return router
