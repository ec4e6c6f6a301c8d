"""The vault, wired."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from common.callers import Callers
from common.http import Denial, service_app
from common.identity import Signer, Verifier
from common.ids import now_ms
from common.kafka import Publisher, declare_topics
from common.periodic import repeating
from vault.audit import denied_entry
from vault.audit_key import read_audit_key
from vault.changes import Changes
from vault.grants import Grants
from vault.heads import Heads, to_topic
from vault.keyring import Keyring
from vault.keys import STALE_MS, Keys
from vault.leases import Leases
from vault.routes import AUDIENCE, grant_routes, key_routes, lease_routes
from vault.settings import VaultSettings
from vault.sources import close, read_sources, unlock
from vault.store import Store

MAX_BODY_BYTES = 64 * 1024
"""A secret has at most 4,096 characters, a grant as many."""

EVERY_SECONDS = 60
"""How often forgotten keys and what need not be known any more are swept, and the audit's heads published."""


def create_app(settings: VaultSettings) -> FastAPI:
    """Return the service; raises `MasterKeyRefused` where the master key is missing or weak."""
    sources = read_sources(settings)
    store = Store(settings.database_url.get_secret_value())
    publisher = Publisher(settings.kafka_bootstrap_servers)
    callers = Callers.load(AUDIENCE, settings)
    keyring = Keyring(store, sources)
    changes = Changes(publisher)
    keys = Keys(store, keyring, changes.announce)
    grants = Grants(store, changes.announce)
    leases = Leases(store, keyring, Verifier.load(settings.identity_dir))
    heads = Heads(store, Signer.load("vault", settings.identity_dir), to_topic(publisher))

    async def denied(denial: Denial) -> None:
        async with store.transaction() as transaction:
            await transaction.audit(denied_entry(denial))

    async def sweep() -> None:
        await keys.sweep(now_ms() - STALE_MS)
        await grants.forget(now_ms())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:
            closing.push_async_callback(store.close)
            closing.push_async_callback(close, sources)
            await store.prepare(migrate=settings.migrate_on_start)
            await unlock(keyring, store, sources)
            store.audit_with(await read_audit_key(keyring, store))
            await declare_topics(settings.kafka_bootstrap_servers, settings.kafka_replication)
            closing.push_async_callback(publisher.close)
            await publisher.start()
            await closing.enter_async_context(repeating(sweep, EVERY_SECONDS))
            await closing.enter_async_context(repeating(heads.publish, EVERY_SECONDS))
            yield

    app = service_app("Tallyrun vault", lifespan, store.ping, MAX_BODY_BYTES, denied)
    app.include_router(key_routes(keys, callers))
    app.include_router(grant_routes(grants, callers))
    app.include_router(lease_routes(leases, callers))
    return app
