"""Key-encryption keys that never leave their server: the transit engine of HashiCorp Vault or OpenBao, over HTTP.

A version of the keyring is one version of one transit key, named with every encryption: what the server rotates on its
own changes nothing here until an operator adds it. The token needs `update` on `<mount>/encrypt/<key>` and
`<mount>/decrypt/<key>`, and nothing else. The server's own `rewrap` is of no use: it takes no associated data.
https://developer.hashicorp.com/vault/api-docs/secret/transit, https://openbao.org/api-docs/secret/transit/
"""

import base64
import binascii
import logging
import re
from pathlib import Path
from typing import Any

import httpx2

from common.errors import InvalidRequest, Unavailable
from vault.envelope import Tampered
from vault.keyring import KNOWN, KekMissing, Kind

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5
MOST_CONNECTIONS = 16
RETRY_SECONDS = 2
REPAIR_SECONDS = 30
"""A refusal that only an operator ends: asking again at once would not help."""

NOT_AUTHENTIC = "message authentication failed"
INVALID = "invalid ciphertext"
TOO_NEW = "version is too new"
"""Words in the server's 400s. The last one is said of a key that was deleted and made again."""

_REFERENCE = re.compile(r"(?P<mount>.+)/(?P<key>[^/]+):v(?P<version>[1-9]\d*)")


class Transit:
    """One transit key on one server. Close it at the end."""

    kind: Kind = "transit"

    def __init__(self, url: str, mount: str, key: str, token_file: Path) -> None:
        self.name = f"transit key {mount}/{key}"
        self._key = f"{mount}/{key}"
        self._token_file = token_file
        self._http = httpx2.AsyncClient(
            base_url=f"{url.rstrip('/')}/v1/",
            timeout=TIMEOUT_SECONDS,
            limits=httpx2.Limits(max_connections=MOST_CONNECTIONS),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def new_reference(self) -> str:
        """Return the reference of the transit key's latest version; `encrypt` tells it without another permission."""
        wrap = await self.call("encrypt", self._key, {"plaintext": _base64(KNOWN)}, "ciphertext")
        return f"{self._key}:v{wrap.removeprefix('vault:v').partition(':')[0]}"

    async def kek(self, reference: str) -> "TransitKek":
        """Return that version of that transit key on this server."""
        if (parts := _REFERENCE.fullmatch(reference)) is None:
            raise InvalidRequest(f"'{reference}' names no version of a transit key")
        return TransitKek(self, parts["mount"], parts["key"], int(parts["version"]))

    async def call(self, verb: str, key: str, body: dict[str, object], answer: str) -> str:
        """Encrypt or decrypt; return this field of the answer, or raise what the refusal means."""
        mount, _, name = key.rpartition("/")
        try:
            response = await self._http.post(f"{mount}/{verb}/{name}", json=body, headers=self._headers())
        except httpx2.TransportError as error:
            raise Unavailable(
                f"the transit server cannot be reached ({self.name})", retry_after=RETRY_SECONDS
            ) from error
        if response.status_code != 200:
            raise self._refusal(response)
        return _field(_json(response).get("data"), answer)

    def _headers(self) -> dict[str, str]:
        """Read the token anew each time: whoever renews it writes the file anew."""
        try:
            token = self._token_file.read_text().strip()
        except OSError as error:
            reason = f"TRANSIT_TOKEN_FILE cannot be read ({error.strerror})"
            raise Unavailable(reason, retry_after=REPAIR_SECONDS) from error
        return {"x-vault-token": token, "x-vault-request": "true"}

    def _refusal(self, response: httpx2.Response) -> Exception:
        said = "; ".join(map(str, _json(response).get("errors") or ())) or f"status {response.status_code}"
        if response.status_code == 400:
            return self._bad_request(said)
        log.error("the transit server refuses", extra={"status": response.status_code, "reason": said})
        if response.status_code == 403:
            return Unavailable(f"the transit server refuses the token ({self.name})", retry_after=REPAIR_SECONDS)
        return Unavailable(f"the transit server does not answer ({self.name}): {said}", retry_after=RETRY_SECONDS)

    def _bad_request(self, said: str) -> Exception:
        if NOT_AUTHENTIC in said or (INVALID in said and TOO_NEW not in said):
            return Tampered("altered, or moved from another place, says the transit server")
        log.error("the transit server cannot use its key", extra={"reason": said})
        return KekMissing(f"{self.name}: {said}", retry_after=REPAIR_SECONDS)


class TransitKek:
    """One version of one transit key."""

    def __init__(self, server: Transit, mount: str, key: str, version: int) -> None:
        self._server = server
        self._key = f"{mount}/{key}"
        self._version = version
        self._prefix = f"vault:v{version}:"

    async def wrap(self, data_key: bytes, bound: bytes) -> bytes:
        """Encrypt a data key under this very version; `bound` is associated data."""
        body = {"plaintext": _base64(data_key), "associated_data": _base64(bound), "key_version": self._version}
        wrap = await self._server.call("encrypt", self._key, body, "ciphertext")
        if not wrap.startswith(self._prefix):
            raise Unavailable("the transit server encrypted under another version than it was asked to")
        return wrap.encode()

    async def unwrap(self, wrap: bytes, bound: bytes) -> bytes:
        """Return the data key; raise `Tampered`, or `Unavailable` where the server or its key is away."""
        if not wrap.startswith(self._prefix.encode()) or not wrap.isascii():
            raise Tampered("not a wrap of this version")
        body: dict[str, object] = {"ciphertext": wrap.decode(), "associated_data": _base64(bound)}
        plain = await self._server.call("decrypt", self._key, body, "plaintext")
        try:
            return base64.b64decode(plain, validate=True)
        except binascii.Error:
            raise _nonsense() from None  # the cause would show the data key


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _json(response: httpx2.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _field(data: object, name: str) -> str:
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, str):
        raise _nonsense()
    return value


def _nonsense() -> Unavailable:
    return Unavailable("the transit server's answer is none of its API", retry_after=RETRY_SECONDS)
