"""Who speaks, and for whom: service tokens, grants, and statements for the record, all signed (EdDSA over Ed25519)."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import Unauthenticated
from common.ids import new_id

ALGORITHM = "Ed25519"
SERVICE_TOKEN_SECONDS = 300
RENEW_SECONDS = 60
CLOCK_SKEW_SECONDS = 30
GRANT_AUDIENCE = "tallyrun-grant"
GRANT_ISSUER = "gateway"
STATEMENT_AUDIENCE = "tallyrun-record"
"""No service goes by this name: a statement is nobody's token."""


class Grant(BaseModel):
    """A permission to use one workspace's keys at these providers until `expires_at` (Unix seconds); multi-use.

    With `key_id` it opens that key alone.
    """

    model_config = ConfigDict(frozen=True)

    grant_id: UUID
    workspace_id: UUID
    providers: tuple[str, ...]
    expires_at: int
    key_id: UUID | None = None

    def expired(self, now: float) -> bool:
        """Whether the grant is over at `now` (Unix seconds)."""
        return now >= self.expires_at


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
            expires = time.time() + SERVICE_TOKEN_SECONDS
            token = self._sign({"iss": self._service, "aud": audience, "exp": int(expires)})
            self._tokens[audience] = token, expires
        return token

    def grant(self, workspace_id: UUID, providers: tuple[str, ...], expires_at: int, key_id: UUID | None = None) -> str:
        """Sign a new grant."""
        claims = {
            "iss": self._service,
            "aud": GRANT_AUDIENCE,
            "jti": str(new_id()),
            "sub": str(workspace_id),
            "providers": list(providers),
            "exp": expires_at,
        }
        return self._sign(claims if key_id is None else {**claims, "key_id": str(key_id)})

    def statement(self, kind: str, claims: Mapping[str, object]) -> str:
        """Sign what this service states for the record: it proves nobody's identity, and never expires."""
        return self._sign({**claims, "iss": self._service, "aud": STATEMENT_AUDIENCE, "sub": kind})

    def _sign(self, claims: dict[str, object]) -> str:
        return jwt.encode({"alg": ALGORITHM, "kid": self._service}, claims, self._key, algorithms=[ALGORITHM])


class Verifier:
    """Checks signatures with the services' public keys."""

    def __init__(self, public_pems: Mapping[str, bytes]) -> None:
        self._keys = {service: OKPKey.import_key(pem) for service, pem in public_pems.items()}

    @classmethod
    def load(cls, identity_dir: Path) -> "Verifier":
        """Read every `<service>.pub` of the folder."""
        return cls({path.stem: path.read_bytes() for path in identity_dir.glob("*.pub")})

    def service(self, token: str, audience: str) -> str:
        """Return the name of the service that signed the token for this audience, or raise `Unauthenticated`."""
        claims = self._claims(token)
        if claims.get("aud") != audience:
            raise Unauthenticated("the token is for another audience")
        if time.time() > _seconds(claims.get("exp")) + CLOCK_SKEW_SECONDS:
            raise Unauthenticated("the token has expired")
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
                expires_at=_seconds(claims["exp"]),
                key_id=claims.get("key_id"),
            )
        except (KeyError, TypeError, ValidationError) as error:
            raise Unauthenticated("the grant lacks a claim") from error

    def statement(self, token: str, service: str, kind: str) -> dict[str, Any]:
        """Return the claims of a statement of this kind if this service signed it, or raise `Unauthenticated`."""
        claims = self._claims(token)
        if (claims["iss"], claims.get("aud"), claims.get("sub")) != (service, STATEMENT_AUDIENCE, kind):
            raise Unauthenticated(f"not a statement of {service} on {kind}")
        return claims

    def _claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a token whose `iss` is the very service whose key signed it."""
        for service, key in self._keys.items():
            try:
                claims = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
            except (JoseError, ValueError):
                continue
            if claims.get("iss") == service:
                return claims
        raise Unauthenticated("the token is not signed by a known service")


def _seconds(value: object) -> int:
    if not isinstance(value, int):
        raise Unauthenticated("the token has no expiry")
    return value
