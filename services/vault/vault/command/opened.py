"""What a command works with: the database, and what opens its secrets, as the vault's own environment says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from vault.audit_key import read_audit_key
from vault.chain import AuditKey
from vault.keyring import Keyring, Source
from vault.settings import KeyringSettings
from vault.sources import close, read_sources, unlock
from vault.store import Store


@dataclass(frozen=True)
class Opened:
    """The database and its keyring."""

    store: Store
    sources: list[Source]
    keyring: Keyring


@asynccontextmanager
async def opened_keyring(settings: KeyringSettings) -> AsyncIterator[Opened]:
    """Connect as the settings say, and disconnect at the end; raise `MasterKeyRefused` or `Unavailable`."""
    sources = read_sources(settings)
    try:
        async with database(settings) as store:
            yield Opened(store, sources, Keyring(store, sources))
    finally:
        await close(sources)


@asynccontextmanager
async def database(settings: KeyringSettings) -> AsyncIterator[Store]:
    """Connect, and disconnect at the end; raise `Unavailable`."""
    store = Store(settings.database_url.get_secret_value())
    try:
        await store.prepare(migrate=settings.migrate_on_start)
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened_store(settings: KeyringSettings) -> AsyncIterator[tuple[Store, Keyring, AuditKey]]:
    """Connect and unlock as the service does, ready to audit; raise `AuditKeyRefused` as well."""
    async with opened_keyring(settings) as opened:
        await unlock(opened.keyring, opened.store, opened.sources)
        audit_key = await read_audit_key(opened.keyring, opened.store)
        opened.store.audit_with(audit_key)
        yield opened.store, opened.keyring, audit_key
