"""The master key: where it comes from, when it is too weak, and the key-encryption keys that follow from it.

Passphrase or file, its bytes go through scrypt with the random salt of the key-encryption key's version.
"""

import asyncio
import base64
import os
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from common.errors import TallyrunError
from vault.envelope import KEY_BYTES, decrypt, derive_kek, encrypt
from vault.keyring import Kind

SALT_BYTES = 16
SHORTEST_PASSPHRASE = 16
FEWEST_DISTINCT = 8
"""Different characters (or bytes). A random 32-byte key in base64 has about 32 of them."""

VARIABLE = "API_KEY_ENCRYPTION_KEY"
ADVICE = (
    "Make one with `openssl rand -base64 32` and set it as {0}, or keep it in a file and set"
    " {0}_FILE to its path. Without it no stored key can be opened again: keep a copy."
)


class MasterKeyRefused(TallyrunError):
    """The vault does not start with this master key; the message says why and what to do."""


class LocalKek:
    """A key-encryption key in this process."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    async def wrap(self, data_key: bytes, bound: bytes) -> bytes:
        """Encrypt a data key; `bound` is associated data."""
        return encrypt(self._key, data_key, bound)

    async def unwrap(self, wrap: bytes, bound: bytes) -> bytes:
        """Return the data key, or raise `Tampered`."""
        return decrypt(self._key, wrap, bound)


class MasterKey:
    """The operator's secret, from which local key-encryption keys are derived."""

    kind: Kind = "local"

    def __init__(self, material: bytes, name: str = VARIABLE) -> None:
        self.name = name
        self._material = material
        self._derived: dict[str, LocalKek] = {}

    async def new_reference(self) -> str:
        """Return a random salt, in hex."""
        return os.urandom(SALT_BYTES).hex()

    async def kek(self, reference: str) -> LocalKek:
        """Return the key under this salt; the first time it takes about 0.2 s, in a thread."""
        if reference not in self._derived:
            key = await asyncio.to_thread(derive_kek, self._material, bytes.fromhex(reference))
            self._derived[reference] = LocalKek(key)
        return self._derived[reference]


def read_master_key(passphrase: SecretStr | None, file: Path | None, variable: str = VARIABLE) -> MasterKey | None:
    """Return the master key of `<variable>` or `<variable>_FILE`, None if neither is set.

    Raises `MasterKeyRefused` if both are, or if it is weak.
    """
    if passphrase is None and file is None:
        return None
    advice = ADVICE.format(variable)
    if passphrase is not None and file is not None:
        raise MasterKeyRefused(f"{variable} and {variable}_FILE are both set: set one of them. {advice}")
    material = _key_bytes(file, advice) if file is not None else _passphrase(passphrase or SecretStr(""), advice)
    if len(set(material)) < FEWEST_DISTINCT or material in (material + material)[1:-1]:
        raise MasterKeyRefused(f"The master key is weak: it repeats itself. {advice}")
    return MasterKey(material, variable)


def _passphrase(passphrase: SecretStr, advice: str) -> bytes:
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise MasterKeyRefused(f"The master key is weak: it has fewer than {SHORTEST_PASSPHRASE} characters. {advice}")
    return passphrase.get_secret_value().encode()


def _key_bytes(file: Path, advice: str) -> bytes:
    """Return the file's 32 bytes, which may be written as hex or base64."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MasterKeyRefused(f"The master key file cannot be read ({error.strerror}): {file}. {advice}") from error
    for key in (content, _decoded(bytes.fromhex, content), _decoded(_base64, content)):
        if len(key) == KEY_BYTES:
            return key
    raise MasterKeyRefused(f"{file} does not hold {KEY_BYTES} bytes, raw or as hex or base64. {advice}")


def _decoded(decode: Callable[[str], bytes], content: bytes) -> bytes:
    try:
        return decode(content.decode().strip())
    except ValueError:
        return b""


def _base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
