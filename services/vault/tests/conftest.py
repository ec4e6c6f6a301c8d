"""A vault on real engines: as a whole, called as each service would, and in its parts."""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx2
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import FastAPI
from pydantic import SecretStr
from tests.support.keyring import QuickMasterKey

from common.contracts.credentials_v1 import KeyView
from common.contracts.runs_v1 import Operation
from common.contracts.topics import CREDENTIALS_CHANGED
from common.identity import CHECKS, RUNS, Signer
from common.ids import new_id
from common.kafka import partition_news
from vault import envelope as envelope_module
from vault.app import create_app
from vault.chain import AuditKey
from vault.keyring import Keyring
from vault.settings import VaultSettings
from vault.sources import unlock
from vault.store import Store

Connect = Callable[..., Awaitable[KeyView]]
NewGrant = Callable[..., str]
Lease = Callable[..., Awaitable[httpx2.Response]]


@pytest.fixture
def workspace() -> UUID:
    return new_id()


@pytest.fixture
def quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derive the key-encryption key in no time, for tests that do so again and again; other processes do not see it."""
    monkeypatch.setattr(envelope_module, "SCRYPT_N", 16)


@pytest.fixture
def vault_signer(identity_dir: Path) -> Signer:
    return Signer.load("vault", identity_dir)


@pytest.fixture
def settings(database: str, kafka: str, identity_dir: Path, tmp_path: Path) -> VaultSettings:
    key_file = tmp_path / "master-key"
    key_file.write_bytes(os.urandom(32))
    return VaultSettings(
        database_url=SecretStr(database),
        kafka_bootstrap_servers=kafka,
        kafka_replication=1,
        identity_dir=identity_dir,
        api_key_encryption_key_file=key_file,
    )


@pytest.fixture
async def app(settings: VaultSettings) -> AsyncIterator[FastAPI]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def calling(app: FastAPI, token: str | None) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://vault", headers=headers) as client:
        yield client


@pytest.fixture
async def anyone(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with calling(app, None) as client:
        yield client


@pytest.fixture
async def gateway(app: FastAPI, gateway_signer: Signer) -> AsyncIterator[httpx2.AsyncClient]:
    async with calling(app, gateway_signer.service_token("vault")) as client:
        yield client


@pytest.fixture
async def runner(app: FastAPI, runner_signer: Signer) -> AsyncIterator[httpx2.AsyncClient]:
    async with calling(app, runner_signer.service_token("vault")) as client:
        yield client


@pytest.fixture
def connect(gateway: httpx2.AsyncClient, workspace: UUID) -> Connect:
    """Save a secret and activate it, in the test's workspace or another."""

    async def connect(
        secret: str,
        provider: str = "openai",
        name: str = "default",
        to: UUID = workspace,
        expires_at: int | None = None,
    ) -> KeyView:
        keys = f"/workspaces/{to}/keys"
        body = {"provider": provider, "name": name, "secret": secret, "actor": "ann", "expires_at": expires_at}
        saved = (await gateway.post(keys, json=body)).raise_for_status().json()
        activate = f"{keys}/{saved['key_id']}/versions/{saved['version']}/activate"
        active = await gateway.post(activate, json={"verified": True, "actor": "ann"})
        return KeyView.model_validate(active.raise_for_status().json())

    return connect


@pytest.fixture
def new_grant(gateway_signer: Signer, workspace: UUID) -> NewGrant:
    """Sign a grant for the test's workspace and OpenAI, or for something else."""

    def new_grant(
        providers: tuple[str, ...] = ("openai",),
        seconds: int = 600,
        key_id: UUID | str | None = None,
        to: UUID = workspace,
        operations: tuple[Operation, ...] = (*RUNS, *CHECKS),
        grant_id: UUID | None = None,
    ) -> str:
        key = None if key_id is None else UUID(str(key_id))
        expires_at = int(time.time()) + seconds
        return gateway_signer.grant(to, providers, expires_at, key, operations=operations, grant_id=grant_id)

    return new_grant


@pytest.fixture
def lease(runner: httpx2.AsyncClient, new_grant: NewGrant) -> Lease:
    """Ask for a lease as a runner, under a good grant or another."""

    async def lease(grant: str | None = None, **fields: object) -> httpx2.Response:
        asked = {"grant": grant or new_grant(), "provider": "openai", "operation": "chat", **fields}
        return await runner.post("/leases", json={key: str(value) for key, value in asked.items()})

    return lease


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the vault's, to look into its tables and to break them."""
    connection = await asyncpg.connect(database.replace("+asyncpg", ""))
    yield connection
    await connection.close()


@pytest.fixture
async def store(database: str) -> AsyncIterator[Store]:
    store = Store(database)
    await store.prepare(migrate=True)
    store.audit_with(AuditKey(os.urandom(32)))
    yield store
    await store.close()


@pytest.fixture
def master() -> QuickMasterKey:
    return QuickMasterKey()


@pytest.fixture
async def keyring(store: Store, master: QuickMasterKey) -> Keyring:
    keyring = Keyring(store, [master])
    await unlock(keyring, store, [master])
    return keyring


@pytest.fixture
async def evictions(kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    """What is announced from now on."""
    async with partition_news(kafka, CREDENTIALS_CHANGED.name, [0]) as consumer:
        await consumer.position(TopicPartition(CREDENTIALS_CHANGED.name, 0))  # returns once it stands at the end
        yield consumer
