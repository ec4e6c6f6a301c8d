"""Who speaks, and for whom: service tokens, grants, and statements for the record, all signed (EdDSA over Ed25519)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, OKPKey
from pydantic import BaseModel, ConfigDict, ValidationError

from common.contracts.runs_v1 import Operation
from common.errors import Unauthenticated
from common.ids import new_id

ALGORITHM = "Ed25519"
SERVICE_TOKEN_SECONDS = 300
LONGEST_SERVICE_TOKEN_SECONDS = 600
"""A token that was made to live longer is refused: a stolen one must not be worth keeping."""

RENEW_SECONDS = 60
CLOCK_SKEW_SECONDS = 30
"""How far two machines' clocks may differ, either way."""

TOKENS_REMEMBERED = 4096

GRANT_AUDIENCE = "tallyrun-grant"
GRANT_ISSUER = "gateway"
LONGEST_GRANT_DAYS = 30
"""Of a grant that internal services hold, the only kind that is revoked. A lost one is worth something until it ends or
is revoked, and one that nobody renews nobody misses."""

STATEMENT_AUDIENCE = "tallyrun-record"
"""No service goes by this name: a statement is nobody's token."""
SESSION_AUDIENCE = "tallyrun-session"
RUNS: tuple[Operation, ...] = ("chat", "messages")
CHECKS: tuple[Operation, ...] = ("check",)
PROVIDER_BATCHES: tuple[Operation, ...] = ("batch",)

NOT_A_TOKEN = (JoseError, ValueError, RecursionError)
"""What decoding raises; the last for JSON that is nested without end."""


class Grant(BaseModel):
    """A permission to use one workspace's keys at these providers, for these operations; multi-use.

    Times are in Unix seconds. With `key_id` it opens that key alone.
    """

    model_config = ConfigDict(frozen=True)

    grant_id: UUID
    workspace_id: UUID
    providers: tuple[str, ...]
    operations: tuple[Operation, ...]
    issued_at: int
    expires_at: int
    key_id: UUID | None = None

    def fault(self, now: float) -> str | None:
        """Return why the grant does not hold at `now` (Unix seconds), or None if it does."""
        if now >= self.expires_at:
            return "the grant has expired"
        return "the grant lies in the future" if self.issued_at > now + CLOCK_SKEW_SECONDS else None


@dataclass(frozen=True)
class Session:
    """A browser's stand-in for the access token with this hash, until `expires_at` (Unix seconds)."""

    digest: bytes
    expires_at: int


def new_key_pair() -> tuple[bytes, bytes]:
    """Return a fresh Ed25519 pair as PEM: private, public."""
    key = OKPKey.generate_key("Ed25519")
    return key.as_pem(private=True), key.as_pem(private=False)


class Signer:
    """Signs with one service's private key."""

    def __init__(self, service: str, private_pem: bytes) -> None:
        self._service = service
        self._key = OKPKey.import_key(private_pem)
        self._tokens: dict[str, tuple[str, float]] = {}

    @classmethod
    def load(cls, service: str, identity_dir: Path) -> "Signer":
        """Read `<service>.key` from the folder."""
        return cls(service, (identity_dir / f"{service}.key").read_bytes())

    def service_token(self, audience: str) -> str:
        """Return a token that proves this service to `audience`; reused until a minute before it expires."""
        token, expires = self._tokens.get(audience, ("", 0.0))
        if time.time() > expires - RENEW_SECONDS:
            now = int(time.time())
            expires = now + SERVICE_TOKEN_SECONDS
            token = self._sign({"iss": self._service, "aud": audience, "iat": now, "exp": expires})
            self._tokens[audience] = token, expires
        return token

    def grant(
        self,
        workspace_id: UUID,
        providers: tuple[str, ...],
        expires_at: int,
        key_id: UUID | None = None,
        *,
        operations: tuple[Operation, ...] = RUNS,
        grant_id: UUID | None = None,
    ) -> str:
        """Sign a new grant; `expires_at` is in Unix seconds."""
        claims = {
            "iss": self._service,
            "aud": GRANT_AUDIENCE,
            "jti": str(grant_id or new_id()),
            "sub": str(workspace_id),
            "providers": list(providers),
            "operations": list(operations),
            "iat": int(time.time()),
            "exp": expires_at,
        }
        return self._sign(claims if key_id is None else {**claims, "key_id": str(key_id)})

    def session(self, session: Session) -> str:
        """Sign a browser's session. It holds the token's hash, so that it ends with the token."""
        claims = {"iss": self._service, "aud": SESSION_AUDIENCE, "iat": int(time.time()), "exp": session.expires_at}
        return self._sign({**claims, "digest": session.digest.hex()})

    def verifier(self) -> "Verifier":
        """Return what checks this service's own signatures."""
        return Verifier({self._service: self._key.as_pem(private=False)})

    def statement(self, kind: str, claims: Mapping[str, object]) -> str:
        """Sign what this service states for the record: it proves nobody's identity, and never expires."""
        return self._sign({**claims, "iss": self._service, "aud": STATEMENT_AUDIENCE, "sub": kind})

    def _sign(self, claims: dict[str, object]) -> str:
        return jwt.encode({"alg": ALGORITHM, "kid": self._service}, claims, self._key, algorithms=[ALGORITHM])


class Verifier:
    """Checks signatures with the services' public keys."""

    def __init__(self, public_pems: Mapping[str, bytes]) -> None:
        self._keys = {service: OKPKey.import_key(pem) for service, pem in public_pems.items()}
        # A signature does not change, and is dear to check; times are looked at whenever a token is shown.
        self._claims = lru_cache(maxsize=TOKENS_REMEMBERED)(self._verified)

    @classmethod
    def load(cls, identity_dir: Path) -> "Verifier":
        """Read every `<service>.pub` of the folder."""
        return cls({path.stem: path.read_bytes() for path in identity_dir.glob("*.pub")})

    def service(self, token: str, audience: str) -> str:
        """Return the name of the service that signed the token for this audience, or raise `Unauthenticated`."""
        claims = self._claims(token)
        if claims.get("aud") != audience:
            raise Unauthenticated("the token is for another audience")
        check_times(claims, LONGEST_SERVICE_TOKEN_SECONDS)
        return str(claims["iss"])

    def grant(self, token: str) -> Grant:
        """Return the grant if the gateway signed it, or raise `Unauthenticated`. Whether it is over is not asked."""
        claims = self._claims(token)
        if claims["iss"] != GRANT_ISSUER or claims.get("aud") != GRANT_AUDIENCE:
            raise Unauthenticated("not a grant of the gateway")
        try:
            return Grant(
                grant_id=claims["jti"],
                workspace_id=claims["sub"],
                providers=tuple(claims["providers"]),
                operations=tuple(claims["operations"]),
                issued_at=_seconds(claims, "iat"),
                expires_at=_seconds(claims, "exp"),
                key_id=claims.get("key_id"),
            )
        except (KeyError, TypeError, ValidationError) as error:
            raise Unauthenticated("the grant lacks a claim") from error

    def session(self, token: str) -> Session:
        """Return the session if the gateway signed it and it is not over, or raise `Unauthenticated`."""
        claims = self._claims(token)
        if claims["iss"] != GRANT_ISSUER or claims.get("aud") != SESSION_AUDIENCE:
            raise Unauthenticated("not a session of the gateway")
        expires_at = _seconds(claims, "exp")
        if time.time() >= expires_at:
            raise Unauthenticated("the session is over: sign in again")
        return Session(bytes.fromhex(claims["digest"]), expires_at)

    def statement(self, token: str, service: str, kind: str) -> dict[str, Any]:
        """Return the claims of a statement of this kind if this service signed it, or raise `Unauthenticated`."""
        claims = self._claims(token)
        if (claims["iss"], claims.get("aud"), claims.get("sub")) != (service, STATEMENT_AUDIENCE, kind):
            raise Unauthenticated(f"not a statement of {service} on {kind}")
        return claims

    def _verified(self, token: str) -> dict[str, Any]:
        """Return the claims of a token whose `iss` is the very service whose key signed it."""
        try:
            decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM])
        except NOT_A_TOKEN as error:
            raise Unauthenticated("the token is not signed by a known service") from error
        if decoded.claims.get("iss") != decoded.header["kid"]:
            raise Unauthenticated("the token is signed by another service than it names")
        return decoded.claims

    def _key(self, token: GuestProtocol) -> OKPKey:
        """Return the key that the token names: no other is tried."""
        if (key := self._keys.get(str(token.headers().get("kid")))) is None:
            raise Unauthenticated("the token is not signed by a known service")
        return key


def check_times(claims: Mapping[str, Any], longest_seconds: int) -> None:
    """Raise `Unauthenticated` unless a token holds now and was made to live at most so long; clocks may differ."""
    now, issued, expires = time.time(), _seconds(claims, "iat"), _seconds(claims, "exp")
    if now > expires + CLOCK_SKEW_SECONDS:
        raise Unauthenticated("the token has expired")
    if max(issued, _seconds(claims, "nbf") if "nbf" in claims else issued) > now + CLOCK_SKEW_SECONDS:
        raise Unauthenticated("the token lies in the future")
    if expires - issued > longest_seconds:
        raise Unauthenticated(f"the token was made to live longer than {longest_seconds} s")


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    if type(value := claims.get(name)) is not int:
        raise Unauthenticated(f"the token has no time '{name}'")
    return value
