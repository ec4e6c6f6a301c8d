"""The vault, wired."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from common.callers import Callers
from common.http import Denial, service_app
from common.identity import Verifier
from common.kafka import Publisher, declare_topics
from vault.audit import denied_entry
from vault.changes import Changes
from vault.envelope import Envelope
from vault.grants import Grants
from vault.keys import Keys
from vault.leases import Leases
from vault.master_key import read_master_key, unlock
from vault.routes import AUDIENCE, grant_routes, key_routes, lease_routes
from vault.settings import VaultSettings
from vault.store import Store
from vault.sweep import sweeping

MAX_BODY_BYTES = 64 * 1024
"""A secret has at most 4,096 characters, a grant as many."""


def create_app(settings: VaultSettings) -> FastAPI:
    """Return the service; raises `MasterKeyRefused` where the master key is missing or weak."""
    master_key = read_master_key(settings.api_key_encryption_key, settings.api_key_encryption_key_file)
    store = Store(settings.database_url.get_secret_value())
    publisher = Publisher(settings.kafka_bootstrap_servers)
    callers = Callers.load(AUDIENCE, settings)
    envelope = Envelope()
    changes = Changes(publisher)
    keys = Keys(store, envelope, changes.announce)
    leases = Leases(store, envelope, Verifier.load(settings.identity_dir))

    async def denied(denial: Denial) -> None:
        async with store.transaction() as transaction:
            await transaction.audit(denied_entry(denial))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:
            closing.push_async_callback(store.close)
            await store.prepare()
            await unlock(envelope, master_key, store)
            await declare_topics(settings.kafka_bootstrap_servers, settings.kafka_replication)
            closing.push_async_callback(publisher.close)
            await publisher.start()
            await closing.enter_async_context(sweeping(keys))
            yield

    app = service_app("Tallyrun vault", lifespan, store.ping, MAX_BODY_BYTES, denied)
    app.include_router(key_routes(keys, callers))
    app.include_router(grant_routes(Grants(store, changes.announce), callers))
    app.include_router(lease_routes(leases, callers))
    return app
