"""Access tokens: who calls, in which workspace, and what they may do."""

import hashlib
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol
from uuid import UUID

from fastapi import Request

from common.errors import Forbidden, Unauthenticated
from common.http import bearer
from common.identity import Verifier
from common.lockout import Lockout, address_of
from gateway.compatible import compatible
from gateway.cookies import SAFE, check_origin, cookie_of

Role = Literal["viewer", "member", "admin"]
RANK: dict[Role, int] = {"viewer": 0, "member": 1, "admin": 2}
"""A viewer reads, a member also runs, an admin also connects keys and manages tokens."""

CACHE_SECONDS = 3.0
REMEMBERED = 10_000
MIN_CHARACTERS = 24


@dataclass(frozen=True)
class Caller:
    """The holder of a token. The operator is whoever holds ADMIN_TOKEN_FILE: it may act for every workspace."""

    token_id: UUID
    workspace_id: UUID
    name: str
    role: Role
    operator: bool
    expires_at: datetime | None

    def expired(self) -> bool:
        """Whether the token is over."""
        return self.expires_at is not None and datetime.now(UTC) >= self.expires_at

    def acting_for(self, workspace_id: UUID | None) -> UUID:
        """Return the workspace to act for: the caller's own, unless the operator names another."""
        if workspace_id is None or workspace_id == self.workspace_id:
            return self.workspace_id
        if not self.operator:
            raise Forbidden("only the operator may act for another workspace")
        return workspace_id


class TokenStore(Protocol):
    """Where tokens are kept, by their hash alone."""

    async def token_holder(self, digest: bytes) -> Caller | None:
        """Return who holds the unrevoked token of this hash."""


class Tokens:
    """Recognises tokens, and sessions that stand for them; remembers each for `CACHE_SECONDS`.

    So a revocation takes effect within that time on other replicas, at once on this one; an expiry at once on all.
    An address that fails too often is locked out, but for tokens that were good here lately: whoever shares an address
    with others could lock them out.
    """

    def __init__(self, store: TokenStore, lockout: Lockout, sessions: Verifier) -> None:
        self._store = store
        self._lockout = lockout
        self._sessions = sessions
        self._cache: dict[bytes, tuple[Caller, float]] = {}

    async def caller(self, request: Request, role: Role) -> Caller:
        """Return the holder of the request's token, or of its session where it brings no token.

        Raises `Unauthenticated`, `LockedOut` after too many of these, `Forbidden` where its role is below `role`, or
        where a session is used from elsewhere than the dashboard to change something.
        """
        secret, session = _secret(request), cookie_of(request)
        use_session = session and not secret
        caller = await (self._in_session(request, session) if use_session else self.holder(request, secret))
        request.state.caller = caller.name
        if RANK[caller.role] < RANK[role]:
            raise Forbidden(f"this needs the role '{role}'; the token '{caller.name}' has '{caller.role}'")
        return caller

    async def holder(self, request: Request, secret: str) -> Caller:
        """Return who holds this token; raise `Unauthenticated` or `LockedOut`."""
        digest, address = hashed(secret), address_of(request)
        if digest not in self._cache:
            self._lockout.check(address)
        caller = await self._holder(digest) if secret else None
        if caller is not None and not caller.expired():
            return caller
        self._lockout.failed(address)
        if not secret:
            raise Unauthenticated("no access token; send 'Authorization: Bearer <token>'")
        raise Unauthenticated("the access token is wrong, revoked or expired")

    async def _in_session(self, request: Request, cookie: str) -> Caller:
        """Return who is signed in. Nobody guesses a signature: failures are not counted against the address."""
        if request.method not in SAFE:
            check_origin(request)
        session = self._sessions.session(cookie)
        caller = await self._holder(session.digest)
        if caller is None or caller.expired():
            raise Unauthenticated("the token of this session was revoked or has expired: sign in again")
        return replace(caller, expires_at=datetime.fromtimestamp(session.expires_at, UTC))

    def forget(self) -> None:
        """Ask the store again from now on."""
        self._cache.clear()

    async def _holder(self, digest: bytes) -> Caller | None:
        """Look the token up. An unknown one is not remembered: guesses must not fill the memory."""
        known, until = self._cache.get(digest, (None, 0.0))
        if time.monotonic() < until:
            return known
        caller = await self._store.token_holder(digest)
        if caller is not None:
            self._remember(digest, caller)
        else:
            self._cache.pop(digest, None)
        return caller

    def _remember(self, digest: bytes, caller: Caller) -> None:
        if len(self._cache) >= REMEMBERED:
            self.forget()
        self._cache[digest] = caller, time.monotonic() + CACHE_SECONDS


def _secret(request: Request) -> str:
    """Return the request's token; under `/v1` also where Anthropic's clients put it."""
    told = bearer(request)
    return told if told or not compatible(request.scope) else request.headers.get("x-api-key", "").strip()


def new_secret() -> str:
    """Return a fresh token: 256 random bits behind a prefix that secret scanners can look for."""
    return "tally_" + secrets.token_urlsafe(32)


def hashed(secret: str) -> bytes:
    """Return the SHA-256 of a token. A plain hash is enough: the token itself is random."""
    return hashlib.sha256(secret.encode()).digest()


def read_admin_token(path: Path) -> str:
    """Return the operator's token; raise `ValueError`, saying how to make one, where the file holds none."""
    secret = path.read_text().strip() if path.exists() else ""
    if len(secret) < MIN_CHARACTERS:
        raise ValueError(
            f"ADMIN_TOKEN_FILE {path} holds no token of at least {MIN_CHARACTERS} characters;"
            f" make one: (umask 077; openssl rand -hex 32 > {path})"
        )
    return secret
