"""HTTP in: who may call what, and nothing else."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from common.callers import Callers
from common.contracts.credentials_v1 import Activate, KeyHistory, KeyView, Lease, LeaseRequest, SavedKey, SaveKey
from common.contracts.runs_v1 import Name
from common.http import json_response
from vault.grants import Grants
from vault.keys import Keys
from vault.leases import Leases

AUDIENCE = "vault"
RUNNER = "runner"
NO_STORE = {"cache-control": "no-store"}


def key_routes(keys: Keys, callers: Callers) -> APIRouter:
    """Return what the gateway may call."""
    router = APIRouter(prefix="/workspaces/{workspace_id}/keys", tags=["keys"], route_class=callers.only("gateway"))

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


def grant_routes(grants: Grants, callers: Callers) -> APIRouter:
    """Return what the gateway may do about grants; to issue them takes no vault."""
    router = APIRouter(prefix="/workspaces/{workspace_id}/grants", tags=["grants"], route_class=callers.only("gateway"))

    @router.delete("/{grant_id}", status_code=204)
    async def revoke(workspace_id: UUID, grant_id: UUID, actor: Annotated[Name, Query()]) -> None:
        await grants.revoke(workspace_id, grant_id, actor)

    return router


def lease_routes(leases: Leases, callers: Callers) -> APIRouter:
    """Return what a runner may call."""
    router = APIRouter(tags=["leases"], route_class=callers.only(RUNNER))

    @router.post("/leases", response_model=Lease)
    async def lease(body: LeaseRequest) -> Response:
        leased = await leases.lease(body, RUNNER)
        return json_response(leased.model_dump_json().encode(), headers=NO_STORE)

    return router
