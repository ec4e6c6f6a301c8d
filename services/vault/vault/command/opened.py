"""What a command works with: the database, and what opens its secrets, as the vault's own environment says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vault.audit_key import read_audit_key
from vault.chain import AuditKey
from vault.envelope import Envelope
from vault.master_key import read_master_key, unlock
from vault.settings import VaultSettings
from vault.store import Store


@asynccontextmanager
async def opened_store(settings: VaultSettings) -> AsyncIterator[tuple[Store, Envelope, AuditKey]]:
    """Connect, unlock, and disconnect at the end; raise `MasterKeyRefused`, `AuditKeyRefused` or `Unavailable`."""
    master_key = read_master_key(settings.api_key_encryption_key, settings.api_key_encryption_key_file)
    store, envelope = Store(settings.database_url.get_secret_value()), Envelope()
    try:
        await store.prepare()
        await unlock(envelope, master_key, store)
        audit_key = await read_audit_key(envelope, store)
        store.audit_with(audit_key)
        yield store, envelope, audit_key
    finally:
        await store.close()
