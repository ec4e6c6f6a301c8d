"""The authorisation matrix: whatever is shown to the vault, one way alone leads to a key, and every try is audited."""

import hmac
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from common.contracts.credentials_v1 import KeyView
from common.ids import new_id

Connect = Callable[..., Awaitable[KeyView]]
Json = dict[str, Any]
Signature = Callable[[str, Json, Json], str]


class Keys:
    """The services' keys, in whoever's hands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def genuine(self, service: str, header: Json, claims: Json) -> str:
        key = OKPKey.import_key((self._folder / f"{service}.key").read_bytes())
        return jwt.encode({"alg": "Ed25519", "kid": service, **header}, claims, key, algorithms=["Ed25519"])

    def stranger(self, service: str, header: Json, claims: Json) -> str:
        key = OKPKey.generate_key("Ed25519")
        return jwt.encode({"alg": "Ed25519", "kid": service, **header}, claims, key, algorithms=["Ed25519"])

    def unsigned(self, service: str, header: Json, claims: Json) -> str:
        return f"{_part({'alg': 'none', 'kid': service, **header})}.{_part(claims)}."

    def confused(self, service: str, header: Json, claims: Json) -> str:
        """By HMAC, with the public key as its secret."""
        return _hmac((self._folder / f"{service}.pub").read_bytes(), service, header, claims)

    def empty(self, service: str, header: Json, claims: Json) -> str:
        """By HMAC, with nothing as its secret."""
        return _hmac(b"", service, header, claims)


def _hmac(secret: bytes, service: str, header: Json, claims: Json) -> str:
    signed = f"{_part({'alg': 'HS256', 'kid': service, **header})}.{_part(claims)}"
    return f"{signed}.{_base64(hmac.digest(secret, signed.encode(), 'sha256'))}"


def _part(part: Json) -> str:
    return _base64(json.dumps(part).encode())


def _base64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


@dataclass(frozen=True)
class Row:
    """One try. What differs from the one that should pass; times are in seconds from now."""

    name: str
    expected: tuple[int, str]
    token: Json | None = field(default_factory=dict)
    token_signed: str = "genuine"
    grant: Json | None = field(default_factory=dict)
    grant_signed: str = "genuine"
    asked: Json = field(default_factory=dict)


NOBODY, FORBIDDEN, REFUSED, NO_KEY = (
    (401, "unauthenticated"),
    (403, "forbidden"),
    (403, "grant_refused"),
    (409, "no_api_key"),
)
SIGNATURES = ("stranger", "unsigned", "confused", "empty")
ROWS = (
    Row("the one that should pass", (200, "done")),
    # The service token
    Row("no token", NOBODY, token=None),
    *(Row(f"token {how}", NOBODY, token_signed=how) for how in SIGNATURES),
    Row("token expired", NOBODY, token={"iat": -400, "exp": -100}),
    Row("token of the future", NOBODY, token={"iat": 100, "exp": 400}),
    Row("token not yet valid", NOBODY, token={"nbf": 100}),
    Row("token for a day", NOBODY, token={"exp": 86_400}),
    Row("token without an end", NOBODY, token={"exp": None}),
    Row("token for another audience", NOBODY, token={"aud": "analytics"}),
    Row("token for no audience", NOBODY, token={"aud": None}),
    Row("token of an unknown service", NOBODY, token={"iss": "nobody"}),
    Row("token of another service", FORBIDDEN, token={"iss": "gateway"}),
    Row("a grant for a token", NOBODY, token={"aud": "tallyrun-grant", "iss": "gateway"}),
    # The grant
    Row("no grant", REFUSED, grant=None),
    *(Row(f"grant {how}", REFUSED, grant_signed=how) for how in SIGNATURES),
    Row("grant expired", REFUSED, grant={"exp": -1}),
    Row("grant of the future", REFUSED, grant={"iat": 100}),
    Row("grant without an end", REFUSED, grant={"exp": None}),
    Row("grant for another audience", REFUSED, grant={"aud": "vault"}),
    Row("grant of a runner", REFUSED, grant={"iss": "runner"}),
    Row("grant revoked", REFUSED, grant={"jti": "revoked"}),
    Row("grant for another provider", REFUSED, grant={"providers": ["anthropic"]}),
    Row("grant for no provider", REFUSED, grant={"providers": []}),
    Row("a check's grant for a run", REFUSED, grant={"operations": ["check"], "key_id": "ours"}),
    Row("a run's grant for a check", REFUSED, grant={"key_id": "ours"}, asked={"operation": "check"}),
    Row("grant for another key", REFUSED, grant={"key_id": "second"}, asked={"key_id": "ours"}),
    Row("another workspace's grant", NO_KEY, grant={"sub": "another"}, asked={"key_id": "ours"}),
    Row("our grant, another workspace's key", NO_KEY, asked={"key_id": "theirs"}),
)  # fmt: skip


class Door:
    """The vault's lease endpoint, as somebody tries it who has these keys, and knows these names."""

    def __init__(self, client: httpx2.AsyncClient, keys: Keys, names: dict[str, str]) -> None:
        self._client = client
        self._keys = keys
        self._names = names

    async def tried(self, row: Row) -> httpx2.Response:
        token = {"iss": "runner", "aud": "vault", "iat": 0, "exp": 300}
        grant = {
            "iss": "gateway", "aud": "tallyrun-grant", "jti": str(new_id()), "sub": "workspace",
            "providers": ["openai"], "operations": ["chat", "messages"], "iat": 0, "exp": 600,
        }  # fmt: skip
        asked = {"provider": "openai", "operation": "chat", **row.asked}
        if row.grant is not None:
            asked["grant"] = self._signed(row.grant_signed, {**grant, **row.grant})
        headers = {}
        if row.token is not None:
            headers["authorization"] = f"Bearer {self._signed(row.token_signed, {**token, **row.token})}"
        return await self._client.post("/leases", json=self._named(asked), headers=headers)

    def _signed(self, how: str, claims: Json) -> str:
        now = int(time.time())
        times = {name: now + claims[name] for name in ("iat", "nbf", "exp") if claims.get(name) is not None}
        named = {name: value for name, value in self._named({**claims, **times}).items() if value is not None}
        issuer = claims["iss"] if claims["iss"] != "nobody" else "runner"
        return str(getattr(self._keys, how)(issuer, {}, named))

    def _named(self, values: Json) -> Json:
        return {
            name: self._names.get(value, value) if isinstance(value, str) else value for name, value in values.items()
        }


@pytest.fixture
async def door(
    anyone: httpx2.AsyncClient,
    gateway: httpx2.AsyncClient,
    connect: Connect,
    identity_dir: Path,
    workspace: UUID,
    canary: str,
) -> Door:
    """Our workspace has two keys, another one; one grant is revoked."""
    theirs, revoked = new_id(), new_id()
    keys = {
        "second": await connect(canary, name="second"),
        "ours": await connect(canary),
        "theirs": await connect(canary, to=theirs),
    }
    answer = await gateway.delete(f"/workspaces/{workspace}/grants/{revoked}", params={"actor": "ann"})
    assert answer.status_code == 204, answer.text
    names = {"workspace": str(workspace), "revoked": str(revoked), **{name: str(key.id) for name, key in keys.items()}}
    return Door(anyone, Keys(identity_dir), {**names, "another": str(theirs)})


@pytest.fixture
def canary() -> str:
    return f"key-{secrets.token_hex(16)}"


async def audit(sql: asyncpg.Connection) -> Counter[tuple[str, str]]:
    """How often each action came to each outcome."""
    return Counter(tuple(row) for row in await sql.fetch("SELECT action, outcome FROM audit"))


async def test_one_way_alone_leads_to_a_key_and_every_try_is_audited(
    door: Door, sql: asyncpg.Connection, canary: str
) -> None:
    wrong = []
    for row in ROWS:
        before = await audit(sql)
        answer = await door.tried(row)
        code = "done" if answer.is_success else answer.json()["code"]
        written = list((await audit(sql) - before).elements())
        action = "deny" if row.expected in (NOBODY, FORBIDDEN) else "lease"
        audited = written == [(action, row.expected[1])]
        revealed = canary in answer.text
        right = (answer.status_code, code) == row.expected and audited and revealed == answer.is_success
        print(f"{'ok ' if right else 'BAD'} {row.name:40} {answer.status_code} {code:16} audited: {len(written)}")
        if not right:
            wrong.append(row.name)
    assert wrong == []
