"""The master key: where it comes from, when it is too weak, and whether it is the one this vault was sealed with.

Passphrase or file, its bytes go through scrypt with a random salt that was drawn when the database was new. The
salt is stored next to the derived key's fingerprint, so that a start with another master key is refused at once.
"""

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from common.errors import TallyrunError
from vault.envelope import KEY_BYTES, Envelope, Kek, derive_kek

KEK_VERSION = 1
SALT_BYTES = 16
SHORTEST_PASSPHRASE = 16
FEWEST_DISTINCT = 8
"""Different characters (or bytes). A random 32-byte key in base64 has about 32 of them."""

ADVICE = (
    "Make one with `openssl rand -base64 32` and set it as API_KEY_ENCRYPTION_KEY, or keep it in a file and set"
    " API_KEY_ENCRYPTION_KEY_FILE to its path. Without it no stored key can be opened again: keep a copy."
)


class MasterKeyRefused(TallyrunError):
    """The vault does not start with this master key; the message says why and what to do."""


@dataclass(frozen=True)
class KekRecord:
    """What the database knows of a key-encryption key: enough to derive it again, and to tell it from another."""

    version: int
    salt: bytes
    fingerprint: bytes


class KekRecords(Protocol):
    """Where the records live."""

    async def kek(self, version: int) -> KekRecord | None:
        """Return that version's record."""

    async def keep_kek(self, record: KekRecord) -> KekRecord:
        """Keep the record unless there is one of its version; return the one that is kept."""


@dataclass(frozen=True)
class MasterKey:
    """The operator's secret, from which the key-encryption key is derived."""

    material: bytes = field(repr=False)

    def derive(self, salt: bytes) -> Kek:
        """Return the key-encryption key under this salt."""
        return derive_kek(KEK_VERSION, self.material, salt)


def read_master_key(passphrase: SecretStr | None, file: Path | None) -> MasterKey:
    """Return the master key from the one of the two that is set; raise `MasterKeyRefused` unless it is good."""
    if (passphrase is None) == (file is None):
        fault = "No master key is set" if passphrase is None else "Two master keys are set"
        raise MasterKeyRefused(f"{fault}: the vault needs exactly one. {ADVICE}")
    material = _key_bytes(file) if file is not None else _passphrase(passphrase or SecretStr(""))
    if len(set(material)) < FEWEST_DISTINCT or material in (material + material)[1:-1]:
        raise MasterKeyRefused(f"The master key is weak: it repeats itself. {ADVICE}")
    return MasterKey(material)


def _passphrase(passphrase: SecretStr) -> bytes:
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise MasterKeyRefused(f"The master key is weak: it has fewer than {SHORTEST_PASSPHRASE} characters. {ADVICE}")
    return passphrase.get_secret_value().encode()


def _key_bytes(file: Path) -> bytes:
    """Return the file's 32 bytes, which may be written as hex or base64."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MasterKeyRefused(f"The master key file cannot be read ({error.strerror}): {file}. {ADVICE}") from error
    for key in (content, _decoded(bytes.fromhex, content), _decoded(_base64, content)):
        if len(key) == KEY_BYTES:
            return key
    raise MasterKeyRefused(f"{file} does not hold {KEY_BYTES} bytes, raw or as hex or base64. {ADVICE}")


def _decoded(decode: Callable[[str], bytes], content: bytes) -> bytes:
    try:
        return decode(content.decode().strip())
    except ValueError:
        return b""


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


async def unlock(envelope: Envelope, master: MasterKey, records: KekRecords) -> None:
    """Derive the key-encryption key and hand it to the envelope; on a new database, draw the salt first.

    Raises `MasterKeyRefused` if the database was sealed under another master key.
    """
    record = await records.kek(KEK_VERSION) or await records.keep_kek(_drawn(master))
    kek = master.derive(record.salt)
    if kek.fingerprint != record.fingerprint:
        raise MasterKeyRefused(
            "This database was sealed under another master key. Start with that one: no stored key opens without it."
        )
    envelope.unlock(kek)


def _drawn(master: MasterKey) -> KekRecord:
    salt = os.urandom(SALT_BYTES)
    return KekRecord(KEK_VERSION, salt, master.derive(salt).fingerprint)
