"""A transit engine on this machine, as HashiCorp Vault and OpenBao document it: enough of it to wrap data keys.

https://developer.hashicorp.com/vault/api-docs/secret/transit; words of refusals as in OpenBao's
`builtin/logical/transit` and `sdk/helper/keysutil/policy.go`. Beside it as a program: `python -m tests.support.transit
PORT TOKEN KEY`.
"""

import base64
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse

from common.engines.ports import free_port

_WRAP = re.compile(r"vault:v([^:]*):(.*)", re.DOTALL)


class Refused(Exception):
    """The engine answers this status and these words."""

    def __init__(self, status: int, *errors: str) -> None:
        self.status = status
        self.errors = errors


class TransitKey:
    """A named key, of which every version is kept."""

    def __init__(self) -> None:
        self.min_decryption_version = 1
        self._versions = [AESGCM.generate_key(256)]

    @property
    def latest_version(self) -> int:
        """The newest version's number, from 1."""
        return len(self._versions)

    def rotate(self) -> None:
        """Add a version."""
        self._versions.append(AESGCM.generate_key(256))

    def encrypt(self, version: int, plain: bytes, associated: bytes) -> str:
        """Return `vault:v<version>:<base64>`; 0 means the latest version."""
        version = version or self.latest_version
        if version > self.latest_version:
            raise Refused(400, "requested version for encryption is higher than the latest key version")
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(self._versions[version - 1]).encrypt(nonce, plain, associated)
        return f"vault:v{version}:{base64.b64encode(sealed).decode()}"

    def decrypt(self, wrap: str, associated: bytes) -> bytes:
        """Return what was encrypted."""
        if not wrap.startswith("vault:v"):
            raise Refused(400, "invalid ciphertext: no prefix")
        if (parts := _WRAP.fullmatch(wrap)) is None:
            raise Refused(400, "invalid ciphertext: wrong number of fields")
        version = self._allowed(parts[1])
        try:
            sealed = base64.b64decode(parts[2], validate=True)
        except ValueError:
            raise Refused(400, "invalid ciphertext: could not decode base64") from None
        if len(sealed) < 28:
            raise Refused(400, "invalid ciphertext length")
        try:
            return AESGCM(self._versions[version - 1]).decrypt(sealed[:12], sealed[12:], associated)
        except InvalidTag:
            raise Refused(400, "cipher: message authentication failed") from None

    def _allowed(self, number: str) -> int:
        if not number.isdigit():
            raise Refused(400, "invalid ciphertext: version number could not be decoded")
        if (version := max(1, int(number))) > self.latest_version:
            raise Refused(400, "invalid ciphertext: version is too new")
        if version < self.min_decryption_version:
            raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        return version


class TransitServer:
    """The server: its keys, the one token it lets in, and what it answers instead while it is out of order."""

    def __init__(self, port: int, token: str, mount: str = "transit") -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = token
        self.keys: dict[str, TransitKey] = {}
        self.calls = 0
        self.out_of_order: Refused | None = None
        self.app = FastAPI()
        self.app.add_api_route(f"/v1/{mount}/{{verb}}/{{name}}", self._call, methods=["POST"])

    async def _call(self, verb: str, name: str, request: Request, x_vault_token: str = Header("")) -> JSONResponse:
        self.calls += 1
        try:
            return JSONResponse({"data": self._answer(verb, name, await request.json(), x_vault_token)})
        except Refused as refused:
            return JSONResponse({"errors": list(refused.errors)}, refused.status)

    def _answer(self, verb: str, name: str, body: dict[str, Any], token: str) -> dict[str, Any]:
        if self.out_of_order is not None:
            raise self.out_of_order
        if token != self.token:
            raise Refused(403, "permission denied")
        if verb not in ("encrypt", "decrypt"):
            raise Refused(404)
        if (key := self.keys.get(name)) is None:
            raise Refused(400, "encryption key not found")
        associated = base64.b64decode(body.get("associated_data", ""), validate=True)
        if verb == "decrypt":
            return {"plaintext": base64.b64encode(key.decrypt(body["ciphertext"], associated)).decode()}
        version = int(body.get("key_version", 0))
        wrap = key.encrypt(version, base64.b64decode(body["plaintext"], validate=True), associated)
        return {"ciphertext": wrap, "key_version": version or key.latest_version}


@contextmanager
def running(server: TransitServer) -> Iterator[None]:
    """Listen in a thread until the end of the block; afterwards it can run again, with the same keys."""
    port = int(server.url.rpartition(":")[2])
    web = uvicorn.Server(uvicorn.Config(server.app, port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=web.run)
    thread.start()
    try:
        while not web.started:
            assert thread.is_alive(), "the transit server does not start"
            time.sleep(0.005)
        yield
    finally:
        web.should_exit = True
        thread.join()


@contextmanager
def transit_server(token: str, key: str = "tallyrun") -> Iterator[TransitServer]:
    """Run a server with one key on a free port."""
    server = TransitServer(free_port(), token)
    server.keys[key] = TransitKey()
    with running(server):
        yield server


if __name__ == "__main__":
    port, token, key = sys.argv[1:]
    program = TransitServer(int(port), token)
    program.keys[key] = TransitKey()
    uvicorn.run(program.app, port=int(port), log_level="warning")
