"""The audit key: 32 random bytes, drawn once and stored sealed like a provider key.

It is no part of the master key, so that a rotation of that one seals it anew and breaks no chain. Whoever has the
database has it sealed alone, and can make no row.
"""

import base64
import os
from typing import Protocol
from uuid import UUID

from pydantic import SecretStr

from vault.chain import MAC_BYTES, NO_WORKSPACE, AuditKey
from vault.envelope import Context

CONTEXT = Context(NO_WORKSPACE, "audit", UUID(int=0), 1)
"""What it is sealed for. No provider key has this context: their ids are drawn by time."""


class Sealing(Protocol):
    """Closes and opens secrets."""

    def seal(self, context: Context, secret: SecretStr) -> bytes:
        """Return what opens in this context alone."""

    def open(self, context: Context, sealed: bytes) -> SecretStr:
        """Return what was sealed for this context."""


class Records(Protocol):
    """Where the sealed key is."""

    async def audit_key(self) -> bytes | None:
        """Return it, if it was drawn."""

    async def keep_audit_key(self, sealed: bytes) -> bytes:
        """Keep it unless there is one; return the one that is kept."""


async def read_audit_key(sealing: Sealing, records: Records) -> AuditKey:
    """Return the database's audit key; on a new database draw it first. Raises `EnvelopeError` if it does not open."""
    sealed = await records.audit_key() or await records.keep_audit_key(sealing.seal(CONTEXT, _drawn()))
    return AuditKey(base64.b64decode(sealing.open(CONTEXT, sealed).get_secret_value()))


def _drawn() -> SecretStr:
    return SecretStr(base64.b64encode(os.urandom(MAC_BYTES)).decode())
