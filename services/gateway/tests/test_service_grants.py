"""Grants for internal services: issued by an admin, shown once, listed, revoked through the vault."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
from services.gateway.tests.conftest import Gateway, PlayedVault, error_of

from common.identity import RUNS, Verifier


def ahead(**of: float) -> str:
    return (datetime.now(UTC) + timedelta(**of)).isoformat()


async def issue(gateway: Gateway, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
    asked = {"name": "nightly", "providers": ["openai", "local"], "expiresAt": ahead(days=7), **fields}
    return await gateway.http.post("/api/grants", json=asked, headers=headers)


async def test_a_grant_is_shown_once_and_says_what_was_asked_for(
    gateway: Gateway, verifier: Verifier, workspace_id: UUID, sql: asyncpg.Connection
) -> None:
    answer = await issue(gateway)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    issued = answer.json()["data"]
    token = issued.pop("grant")
    grant = verifier.grant(token)
    assert (str(grant.grant_id), grant.workspace_id) == (issued["id"], workspace_id)
    assert (grant.providers, grant.operations, grant.key_id) == (("openai", "local"), RUNS, None)
    assert datetime.fromtimestamp(grant.expires_at, UTC) == datetime.fromisoformat(issued["expiresAt"])
    assert (issued["state"], issued["createdBy"], issued["revokedAt"]) == ("active", "admin", None)
    listed = await gateway.http.get("/api/grants")
    assert listed.json()["data"] == [issued]
    assert token not in listed.text
    assert token not in str([tuple(row) for row in await sql.fetch("TABLE grants")])


async def test_a_revoked_grant_is_called_so_once_the_vault_has_told_everybody(
    gateway: Gateway, vault: PlayedVault
) -> None:
    issued = (await issue(gateway)).json()["data"]
    path = f"/api/grants/{issued['id']}"
    vault.away = True
    assert error_of(await gateway.http.delete(path)) == (503, "unavailable")
    assert (await gateway.http.get("/api/grants")).json()["data"][0]["state"] == "active"
    vault.away = False
    assert (await gateway.http.delete(path)).json() == {"success": True, "message": "grant revoked"}
    assert vault.revoked == [issued["id"]]
    assert vault.calls[-1] == (
        "DELETE",
        f"/workspaces/{issued['workspaceId']}/grants/{issued['id']}",
        {"actor": "admin"},
    )
    revoked = (await gateway.http.get("/api/grants")).json()["data"][0]
    assert revoked["state"] == "revoked"
    assert (await gateway.http.delete(path)).status_code == 200
    assert (await gateway.http.get("/api/grants")).json()["data"][0] == revoked


async def test_a_grant_that_is_over_says_so(gateway: Gateway, sql: asyncpg.Connection) -> None:
    await issue(gateway)
    await sql.execute("UPDATE grants SET expires_at = now()")
    assert (await gateway.http.get("/api/grants")).json()["data"][0]["state"] == "expired"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"expiresAt": ahead(days=31)}, "at most 30 days"),
        ({"expiresAt": ahead(seconds=-1)}, "in the future"),
        ({"expiresAt": "9999-12-31T23:59:59-23:59"}, "expiresAt"),
        ({"expiresAt": "2030-01-01T00:00:00"}, "expiresAt"),
        ({"providers": ["nobody"]}, "anthropic, local, openai"),
        ({"providers": []}, "providers"),
        ({"providers": ["openai"] * 33}, "providers"),
        ({"name": ""}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"key": 1}, "key"),
    ],
)
async def test_a_grant_that_cannot_be_is_refused(gateway: Gateway, fields: dict[str, Any], said: str) -> None:
    answer = await issue(gateway, **fields)
    assert error_of(answer) == (422, "invalid_request")
    assert said in answer.json()["error"]
    assert (await gateway.http.get("/api/grants")).json()["data"] == []


async def test_an_admin_sees_and_ends_the_own_workspaces_grants_alone(gateway: Gateway, vault: PlayedVault) -> None:
    blue = (await gateway.http.post("/api/workspaces", json={"name": "blue"})).json()["data"]["id"]
    theirs = (await issue(gateway, workspaceId=blue)).json()["data"]
    assert theirs["workspaceId"] == blue
    admin = gateway.calling(await gateway.token("admin"))
    assert (await gateway.http.get("/api/grants", headers=admin)).json()["data"] == []
    assert error_of(await gateway.http.get(f"/api/grants?workspaceId={blue}", headers=admin))[0] == 403
    assert error_of(await issue(gateway, admin, workspaceId=blue))[0] == 403
    assert error_of(await gateway.http.delete(f"/api/grants/{theirs['id']}", headers=admin))[0] == 404
    assert vault.revoked == []
    assert (await gateway.http.delete(f"/api/grants/{theirs['id']}")).status_code == 200
    assert error_of(await issue(gateway, workspaceId=str(uuid4()))) == (404, "not_found")
