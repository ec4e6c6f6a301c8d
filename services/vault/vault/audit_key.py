"""The audit key: 32 random bytes, drawn once and stored sealed like a provider key.

It is no part of the master key, so that a rotation of that one seals it anew and breaks no chain. Whoever has the
database has it sealed alone, and can make no row.
"""

import base64
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol
from uuid import UUID

from pydantic import SecretStr

from common.errors import TallyrunError
from vault.chain import MAC_BYTES, NO_WORKSPACE, AuditKey
from vault.envelope import Context, EnvelopeError

CONTEXT = Context(NO_WORKSPACE, "audit", UUID(int=0), 1)
"""What it is sealed for. No provider key has this context: their ids are drawn by time."""


class AuditKeyRefused(TallyrunError):
    """The stored audit key does not open, so that the vault can write no audit, and does not start."""


class Sealing(Protocol):
    """Closes and opens secrets."""

    async def seal(self, kek_version: int, context: Context, secret: SecretStr) -> bytes:
        """Return what opens in this context alone, under that version of the key-encryption key."""

    async def open(self, context: Context, sealed: bytes) -> SecretStr:
        """Return what was sealed for this context."""


class Records(Protocol):
    """Where the sealed key is."""

    async def audit_key(self) -> bytes | None:
        """Return it, if it was drawn."""

    async def keep_audit_key(self, seal: Callable[[int], Awaitable[bytes]]) -> bytes:
        """Seal one under the primary version and keep it, unless there is one; return the one that is kept."""


async def read_audit_key(sealing: Sealing, records: Records) -> AuditKey:
    """Return the database's audit key, drawn if the database is new; raise `AuditKeyRefused` if it does not open."""
    sealed = await records.audit_key() or await records.keep_audit_key(partial(_sealed, sealing))
    try:
        opened = await sealing.open(CONTEXT, sealed)
    except EnvelopeError as error:
        raise AuditKeyRefused(
            f"The audit key does not open ({error}). Restore its row of `key_versions`, with key id {CONTEXT.key_id},"
            " from a backup: without it no older row of the audit can be verified."
        ) from error
    return AuditKey(base64.b64decode(opened.get_secret_value()))


async def _sealed(sealing: Sealing, kek_version: int) -> bytes:
    drawn = SecretStr(base64.b64encode(os.urandom(MAC_BYTES)).decode())
    return await sealing.seal(kek_version, CONTEXT, drawn)
