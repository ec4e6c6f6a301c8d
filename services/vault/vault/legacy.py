"""Opening the legacy format: `iv:encrypted` in hex, AES-256-CBC with PKCS #7 padding, its key from a passphrase.

As Node's usual recipe has it: `scryptSync(passphrase, 'salt', 32)` and `createCipheriv('aes-256-cbc', key, iv)`.
Nothing is sealed like this here: it authenticates nothing, and a wrong key shows by its padding alone, mostly.
"""

import binascii

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from pydantic import SecretStr

NODE_N, NODE_R, NODE_P = 16_384, 8, 1
"""The defaults of Node's `crypto.scryptSync`: https://nodejs.org/api/crypto.html#cryptoscryptsyncpassword-salt-keylen-options"""

DEFAULT_SALT = "salt"
KEY_BYTES, BLOCK_BYTES = 32, 16


class LegacyError(Exception):
    """A legacy secret does not open; the message says why, and nothing of the secret."""


class LegacyKey:
    """The key that the legacy system derived from its API_KEY_ENCRYPTION_KEY; takes about 50 ms and 16 MiB."""

    def __init__(self, passphrase: SecretStr, salt: str = DEFAULT_SALT) -> None:
        scrypt = Scrypt(salt=salt.encode(), length=KEY_BYTES, n=NODE_N, r=NODE_R, p=NODE_P)
        self._key = scrypt.derive(passphrase.get_secret_value().encode())

    def open(self, sealed: str) -> SecretStr:
        """Return the secret; raise `LegacyError`."""
        iv, encrypted = _parts(sealed)
        decryptor = Cipher(AES256(self._key), CBC(iv)).decryptor()
        padded = decryptor.update(encrypted) + decryptor.finalize()
        try:
            return SecretStr(_unpadded(padded).decode())
        except ValueError:
            # Without the cause: its message may show bytes of the secret.
            raise LegacyError("it does not open: another passphrase or salt, or damaged") from None


def _parts(sealed: str) -> tuple[bytes, bytes]:
    try:
        iv, encrypted = (binascii.unhexlify(part) for part in sealed.strip().split(":"))
    except ValueError:  # not two parts, or not hex
        raise LegacyError("not of the form iv:encrypted, both in hex") from None
    if len(iv) != BLOCK_BYTES or not encrypted or len(encrypted) % BLOCK_BYTES:
        raise LegacyError(f"cut: an iv has {BLOCK_BYTES} bytes, and what is encrypted a multiple of that")
    return iv, encrypted


def _unpadded(padded: bytes) -> bytes:
    unpadder = PKCS7(BLOCK_BYTES * 8).unpadder()
    return unpadder.update(padded) + unpadder.finalize()
