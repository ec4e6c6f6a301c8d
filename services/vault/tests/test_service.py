"""The running service: health, evictions through the broker, the sweep, a restart."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import httpx2
from aiokafka import AIOKafkaConsumer, TopicPartition

from common.contracts.credentials_v1 import CredentialsChanged, KeyView
from common.contracts.event import TYPE_HEADER
from common.contracts.topics import CREDENTIALS_CHANGED
from common.engines.postgres import Postgres
from vault.app import create_app
from vault.settings import VaultSettings

Connect = Callable[..., Awaitable[KeyView]]
Lease = Callable[..., Awaitable[httpx2.Response]]
NewGrant = Callable[..., str]

EVICTIONS = TopicPartition(CREDENTIALS_CHANGED.name, 0)


async def end(evictions: AIOKafkaConsumer) -> int:
    return int((await evictions.end_offsets([EVICTIONS]))[EVICTIONS])


async def test_it_is_ready_while_its_database_answers(
    anyone: httpx2.AsyncClient, sql: asyncpg.Connection, postgres: Postgres
) -> None:
    assert (await anyone.get("/health/ready")).status_code == 200
    name = await sql.fetchval("SELECT current_database()")
    outside = await asyncpg.connect(host=str(postgres.socket_dir), user="postgres", database="postgres")
    try:
        await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await outside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        away = await anyone.get("/health/ready")
        assert (away.status_code, away.json()["code"]) == (503, "unavailable")
        assert (await anyone.get("/health/live")).status_code == 200
        await outside.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert (await anyone.get("/health/ready")).status_code == 200
    finally:
        await outside.close()


async def test_an_eviction_is_in_the_topic_before_the_deactivation_is_answered(
    connect: Connect, lease: Lease, gateway: httpx2.AsyncClient, evictions: AIOKafkaConsumer, workspace: UUID
) -> None:
    key = await connect(secrets.token_urlsafe())
    leased = (await lease()).json()
    before = await end(evictions)
    answer = await gateway.delete(f"/workspaces/{workspace}/keys/{key.id}", params={"actor": "ann"})
    assert await end(evictions) == before + 1
    assert answer.status_code == 204
    record = await evictions.getone()
    event = CredentialsChanged.model_validate_json(record.value or b"")
    assert (event.workspace_id, event.key_id, event.reason) == (workspace, key.id, "deactivated")
    assert event.revision > leased["revision"]
    assert record.key == str(key.id).encode()
    assert dict(record.headers)[TYPE_HEADER] == CredentialsChanged.TYPE.encode()


async def test_a_rotation_evicts_and_a_first_activation_does_not(connect: Connect, evictions: AIOKafkaConsumer) -> None:
    before = await end(evictions)
    await connect(secrets.token_urlsafe())
    assert await end(evictions) == before
    key = await connect(secrets.token_urlsafe())
    event = CredentialsChanged.model_validate_json((await evictions.getone()).value or b"")
    assert (event.key_id, event.reason) == (key.id, "activated")


async def test_the_service_sweeps_what_was_left_waiting(
    settings: VaultSettings, gateway: httpx2.AsyncClient, sql: asyncpg.Connection, workspace: UUID
) -> None:
    body = {"provider": "openai", "secret": secrets.token_urlsafe(), "actor": "ann"}
    await gateway.post(f"/workspaces/{workspace}/keys", json=body)
    await sql.execute("UPDATE key_versions SET created_at = created_at - 600001")
    restarted = create_app(settings)
    async with restarted.router.lifespan_context(restarted), asyncio.timeout(10):
        while await sql.fetchval("SELECT count(*) FROM keys WHERE workspace_id = $1", workspace):
            await asyncio.sleep(0.01)
    assert await sql.fetchval("SELECT actor FROM audit WHERE action = 'erase'") == "vault"


async def test_keys_survive_a_restart(
    settings: VaultSettings, connect: Connect, runner: httpx2.AsyncClient, new_grant: NewGrant
) -> None:
    secret = secrets.token_urlsafe()
    await connect(secret)
    restarted = create_app(settings)
    same = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(restarted), base_url=runner.base_url, headers=runner.headers
    )
    async with restarted.router.lifespan_context(restarted), same:
        asked = {"grant": new_grant(), "provider": "openai", "operation": "chat"}
        assert (await same.post("/leases", json=asked)).json()["secret"] == secret
