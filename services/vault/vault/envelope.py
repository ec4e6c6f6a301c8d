"""A secret, sealed under a data key of its own: how it is encrypted, and how it is written down. Bytes in, bytes out.

Envelope: format (1 byte) · version of the key-encryption key (2) · length of the wrap (2) · wrap · body. The wrap is
the data key, encrypted by the key-encryption key. The body is commitment (32) · nonce (12) · ciphertext · tag (16).
The one home of `cryptography`.
"""

import hmac
import os
import struct
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import SecretStr

FORMAT = 1
KEY_BYTES = 32
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**15, 8, 3
"""OWASP's Password Storage Cheat Sheet, the setting that takes 32 MiB. Fixed: other values are another key."""

BODY_KEY, COMMITMENT = b"tallyrun envelope 1: body key", b"tallyrun envelope 1: key commitment"
"""What HKDF derives from a data key, by its `info`: two outputs of which none tells of the other."""

_HEADER = struct.Struct(">BHH")
_COMMITMENT, _NONCE, _TAG = 32, 12, 16
_SHORTEST_BODY = _COMMITMENT + _NONCE + _TAG


class EnvelopeError(Exception):
    """A sealed secret does not open. Subclasses say why; none says anything of the secret."""


class Malformed(EnvelopeError):
    """These bytes are no envelope of a known format."""


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
        """Return the body's associated data: each part behind its length, so that no two contexts look alike."""
        parts = (
            bytes([FORMAT]),
            self.workspace_id.bytes,
            self.provider.encode(),
            self.key_id.bytes,
            self.version.to_bytes(8, "big"),
        )
        return b"".join(map(_behind_its_length, parts))

    def under(self, kek_version: int) -> bytes:
        """Return the associated data of the wrap: the body's, and the version of the key-encryption key."""
        return self.encode() + _behind_its_length(kek_version.to_bytes(2, "big"))


def _behind_its_length(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


@dataclass(frozen=True)
class Sealed:
    """An envelope, taken apart. Nothing of it is authenticated before it is opened."""

    kek_version: int
    wrap: bytes = field(repr=False)
    body: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return it as it is stored."""
        return _HEADER.pack(FORMAT, self.kek_version, len(self.wrap)) + self.wrap + self.body

    @classmethod
    def parse(cls, envelope: bytes) -> "Sealed":
        """Take any bytes apart, or raise `Malformed`."""
        if len(envelope) < _HEADER.size or envelope[0] != FORMAT:
            raise Malformed("no envelope of a known format")
        _, kek_version, wrap_length = _HEADER.unpack_from(envelope)
        body_at = _HEADER.size + wrap_length
        if len(envelope) < body_at + _SHORTEST_BODY:
            raise Malformed("shorter than it says")
        return cls(kek_version, envelope[_HEADER.size : body_at], envelope[body_at:])


def new_data_key() -> bytes:
    """Return a random key for one secret's body."""
    return os.urandom(KEY_BYTES)


def seal_body(data_key: bytes, context: Context, secret: SecretStr) -> bytes:
    """Return the body: what opens under this data key and in this context alone."""
    commitment, key = derive(data_key, COMMITMENT), derive(data_key, BODY_KEY)
    return commitment + encrypt(key, secret.get_secret_value().encode(), context.encode())


def open_body(data_key: bytes, context: Context, body: bytes) -> SecretStr:
    """Return the secret, or raise `Tampered`.

    AES-GCM alone commits to no key: a ciphertext can be made that decrypts under two. So the body carries a value that
    follows from its data key, as in the committing suites of the AWS Encryption SDK, and is refused before anything is
    decrypted if another key is tried on it.
    """
    if not hmac.compare_digest(derive(data_key, COMMITMENT), body[:_COMMITMENT]):
        raise Tampered("the body is not committed to this data key")
    return _text(decrypt(derive(data_key, BODY_KEY), body[_COMMITMENT:], context.encode()))


def _text(secret: bytes) -> SecretStr:
    try:
        return SecretStr(secret.decode())
    except UnicodeDecodeError:
        raise Tampered("not a text") from None  # the cause would show what it could not decode


def derive(key: bytes, info: bytes) -> bytes:
    """Return 32 bytes: HKDF-SHA256 (RFC 5869) without a salt, which a uniformly random key does not need (3.1)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


def derive_kek(master: bytes, salt: bytes) -> bytes:
    """Return the key-encryption key that this master key and salt make; takes about 0.2 s and 32 MiB."""
    return Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(master)


def encrypt(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """Return a random nonce (12 bytes), the AES-256-GCM ciphertext and its tag (16); `bound` is associated data."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def decrypt(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Return what was encrypted, or raise `Tampered`."""
    if len(sealed) < _NONCE + _TAG:
        raise Tampered("shorter than a nonce and a tag")
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound)
    except InvalidTag:
        # Without the cause: its traceback adds nothing.
        raise Tampered("altered, or moved from another place") from None
