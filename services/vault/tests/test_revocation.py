"""A revoked grant opens nothing from that moment on, and every runner is told before the answer."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import httpx2
from aiokafka import AIOKafkaConsumer, TopicPartition

from common.contracts.credentials_v1 import GrantRevoked, KeyView
from common.contracts.event import TYPE_HEADER
from common.contracts.topics import CREDENTIALS_CHANGED
from common.ids import new_id
from vault.app import create_app
from vault.grants import KEPT_MS
from vault.settings import VaultSettings

Connect = Callable[..., Awaitable[KeyView]]
Lease = Callable[..., Awaitable[httpx2.Response]]
NewGrant = Callable[..., str]
EVICTIONS = TopicPartition(CREDENTIALS_CHANGED.name, 0)


async def test_a_revoked_grant_opens_nothing_any_more(
    connect: Connect,
    lease: Lease,
    gateway: httpx2.AsyncClient,
    new_grant: NewGrant,
    evictions: AIOKafkaConsumer,
    sql: asyncpg.Connection,
    settings: VaultSettings,
    workspace: UUID,
) -> None:
    await connect(secrets.token_urlsafe())
    grant_id = new_id()
    grant = new_grant(grant_id=grant_id)
    assert (await lease(grant)).status_code == 200
    before = (await evictions.end_offsets([EVICTIONS]))[EVICTIONS]

    path = f"/workspaces/{workspace}/grants/{grant_id}"
    answer = await gateway.delete(path, params={"actor": "ann"})
    assert (await evictions.end_offsets([EVICTIONS]))[EVICTIONS] == before + 1
    assert answer.status_code == 204
    record = await evictions.getone()
    assert GrantRevoked.model_validate_json(record.value or b"") == GrantRevoked(
        workspace_id=workspace, grant_id=grant_id
    )
    assert (record.key, dict(record.headers)[TYPE_HEADER]) == (str(grant_id).encode(), GrantRevoked.TYPE.encode())

    refused = await lease(grant)
    assert (refused.status_code, refused.json()["code"]) == (403, "grant_refused")
    assert (await lease()).status_code == 200, "other grants of the workspace go on"
    assert (await gateway.delete(path, params={"actor": "bob"})).status_code == 204, "a repetition announces it again"
    assert [tuple(row) for row in await sql.fetch("SELECT actor, grant_id FROM audit WHERE action = 'revoke'")] == [
        ("ann", grant_id)
    ]
    restarted = create_app(settings)
    async with restarted.router.lifespan_context(restarted):
        assert (await lease(grant)).status_code == 403


async def test_a_revocation_is_forgotten_once_its_grant_has_ended_by_itself(
    connect: Connect,
    lease: Lease,
    gateway: httpx2.AsyncClient,
    new_grant: NewGrant,
    sql: asyncpg.Connection,
    settings: VaultSettings,
    workspace: UUID,
) -> None:
    await connect(secrets.token_urlsafe())
    old, young = new_id(), new_id()
    for grant_id in (old, young):
        await gateway.delete(f"/workspaces/{workspace}/grants/{grant_id}", params={"actor": "ann"})
    await sql.execute("UPDATE revoked_grants SET revoked_at = revoked_at - $1 WHERE grant_id = $2", KEPT_MS, old)

    restarted = create_app(settings)
    async with restarted.router.lifespan_context(restarted), asyncio.timeout(10):
        while len(kept := await sql.fetch("SELECT grant_id FROM revoked_grants")) > 1:
            await asyncio.sleep(0.01)
    assert [row["grant_id"] for row in kept] == [young]
    assert (await lease(new_grant(grant_id=young))).status_code == 403
