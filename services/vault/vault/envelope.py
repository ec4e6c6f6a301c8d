"""Sealing and opening secrets: a data key for each, wrapped by the key-encryption key. The one home of `cryptography`.

Wire form: format (1 byte) · key version (2) · key fingerprint (8) · wrapped data key · secret. The last two are
AES-256-GCM, each nonce (12) · ciphertext · tag (16). Every byte is authenticated.
"""

import hmac
import os
import struct
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import SecretStr

FORMAT = 1
KEY_BYTES = 32
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 3
"""OWASP's Password Storage Cheat Sheet, the setting that takes 32 MiB. Fixed: other values are another key."""

_HEADER = struct.Struct(">BH8s")
_NONCE, _TAG = 12, 16
_WRAPPED = _NONCE + KEY_BYTES + _TAG
_SHORTEST = _HEADER.size + _WRAPPED + _NONCE + _TAG


class EnvelopeError(Exception):
    """A sealed secret does not open. Subclasses say why; none says anything of the secret."""


class Malformed(EnvelopeError):
    """These bytes are no envelope of a known format."""


class WrongKey(EnvelopeError):
    """It was sealed under a key-encryption key that is not here."""


class Tampered(EnvelopeError):
    """It was altered, cut, or moved to another place than it was sealed for."""


@dataclass(frozen=True)
class Context:
    """The place a secret is sealed for: it opens nowhere else."""

    workspace_id: UUID
    provider: str
    key_id: UUID
    version: int

    def encode(self) -> bytes:
        """Return the associated data: each part behind its length, so that no two contexts look alike."""
        parts = (
            bytes([FORMAT]),
            self.workspace_id.bytes,
            self.provider.encode(),
            self.key_id.bytes,
            self.version.to_bytes(8, "big"),
        )
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@dataclass(frozen=True)
class Kek:
    """A key-encryption key: 32 bytes, and the version it goes by."""

    version: int
    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> bytes:
        """Eight bytes that tell this key from another and say nothing else of it."""
        return hmac.digest(self.key, b"tallyrun kek fingerprint", "sha256")[:8]

    def header(self) -> bytes:
        """Return how envelopes under this key begin."""
        return _HEADER.pack(FORMAT, self.version, self.fingerprint)


def derive_kek(version: int, master: bytes, salt: bytes) -> Kek:
    """Return the key-encryption key that this master key and salt make; takes about 0.2 s and 32 MiB."""
    return Kek(version, Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(master))


class Envelope:
    """Seals and opens, once a key-encryption key was given to it."""

    def __init__(self) -> None:
        self._keks: dict[bytes, Kek] = {}
        self._newest: Kek | None = None

    def unlock(self, kek: Kek) -> None:
        """Open what was sealed under this key from now on, and seal under it."""
        self._keks[kek.header()] = self._newest = kek

    def seal(self, context: Context, secret: SecretStr) -> bytes:
        """Return the secret's envelope, under a data key of its own."""
        assert self._newest is not None, "unlock() first"
        header, bound, data_key = self._newest.header(), context.encode(), os.urandom(KEY_BYTES)
        wrapped = _encrypt(self._newest.key, data_key, header + bound)
        return header + wrapped + _encrypt(data_key, secret.get_secret_value().encode(), bound)

    def open(self, context: Context, sealed: bytes) -> SecretStr:
        """Return the secret; raise `Malformed`, `WrongKey` or `Tampered`."""
        if len(sealed) < _SHORTEST or sealed[0] != FORMAT:
            raise Malformed("no envelope of a known format")
        header, rest, bound = sealed[: _HEADER.size], sealed[_HEADER.size :], context.encode()
        data_key = _decrypt(self._kek(header).key, rest[:_WRAPPED], header + bound)
        return SecretStr(_decrypt(data_key, rest[_WRAPPED:], bound).decode())

    def _kek(self, header: bytes) -> Kek:
        if (kek := self._keks.get(header)) is None:
            version = _HEADER.unpack(header)[1]
            raise WrongKey(f"sealed under another key-encryption key (version {version})")
        return kek


def _encrypt(key: bytes, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def _decrypt(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
    except InvalidTag:
        # Without the cause: its traceback adds nothing, and says which half failed.
        raise Tampered("altered, or moved from another place") from None
