"""A master key for the vault's tests."""

import os
from uuid import uuid4

from common.errors import Unavailable
from vault.keyring import Kind
from vault.master_key import LocalKek


class QuickMasterKey:
    """A master key without scrypt's 0.2 s: its key-encryption keys are drawn by chance, and kept. It may be away."""

    kind: Kind = "local"
    name = "a quick master key"

    def __init__(self) -> None:
        self.keks: dict[str, LocalKek] = {}
        self.away = False

    async def new_reference(self) -> str:
        """Return a name."""
        return uuid4().hex

    async def kek(self, reference: str) -> LocalKek:
        """Return the key of that name."""
        if self.away:
            raise Unavailable("the source is away")
        return self.keks.setdefault(reference, LocalKek(os.urandom(32)))
