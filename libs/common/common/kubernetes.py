"""Services that a Kubernetes cluster vouches for, by projected service-account tokens and the cluster's own keys."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from joserfc import jws, jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from common.errors import Unauthenticated, Unavailable
from common.identity import NOT_A_TOKEN, check_times

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "ES256")
"""What API servers sign with (`--service-account-signing-key-file` takes RSA and ECDSA keys)."""

ACCOUNT_PREFIX = "system:serviceaccount:"
LONGEST_TOKEN_SECONDS = 86_400
"""A projected token lives for an hour unless its volume says otherwise; one of a year is no proof any more."""

KEYS_SECONDS = 600
"""How long the cluster's keys are believed; one that the cluster takes back counts no longer than that."""

REREAD_SECONDS = 30
"""At most this often are they read again for a key that is not among them: anybody can name one."""

READ_SECONDS = 5
TOKEN_SECONDS = 60
"""How long a token is used before its file is read again; the kubelet renews it at 80% of its life."""

ClusterKey = RSAKey | ECKey
Clock = Callable[[], float]


class ClusterKeys:
    """The cluster's JWKS (RFC 7517), from a file or an URL."""

    def __init__(self, source: str, clock: Clock = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._keys: dict[str, ClusterKey] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, key_id: str) -> ClusterKey | None:
        """Return the key of that id; raise `Unavailable` where the cluster's keys were never read."""
        if not self._fresh(key_id):
            async with self._reading:
                if not self._fresh(key_id):  # another caller may have read them meanwhile
                    await self._read()
        if not self._keys:
            raise Unavailable("the cluster's keys cannot be read", retry_after=REREAD_SECONDS)
        return self._keys.get(key_id)

    def _fresh(self, key_id: str) -> bool:
        return self._clock() - self._read_at < (KEYS_SECONDS if key_id in self._keys else REREAD_SECONDS)

    async def _read(self) -> None:
        """Take the keys anew; those that are known stay while the source is away."""
        self._read_at = self._clock()
        try:
            found = KeySet.import_key_set(await _content(self._source))
        except (OSError, ValueError, KeyError, TypeError, aiohttp.ClientError, *NOT_A_TOKEN) as error:
            log.error("the cluster's keys cannot be read", extra={"source": self._source, "reason": repr(error)})  # noqa: TRY400 - an operator needs no stack
            return
        self._keys = {str(key.kid): key for key in found.keys if isinstance(key, ClusterKey) and key.kid}


async def _content(source: str) -> Any:
    if not source.startswith(("http://", "https://")):
        return orjson.loads(await asyncio.to_thread(Path(source).read_bytes))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READ_SECONDS)) as session:
        async with session.get(source, raise_for_status=True, allow_redirects=False) as answer:
            return await answer.json(content_type=None)


class Cluster:
    """Recognises the services behind service accounts. `services` is by `<namespace>:<name>` of their accounts."""

    def __init__(self, keys: ClusterKeys, issuer: str, services: Mapping[str, str]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._services = {ACCOUNT_PREFIX + account: service for account, service in services.items()}

    async def service(self, token: str, audience: str) -> str:
        """Return the service that the token's account stands for, or raise `Unauthenticated`."""
        claims = await self._claims(token)
        if claims.get("iss") != self._issuer:
            raise Unauthenticated("the token is of another issuer")
        if audience not in _audiences(claims):
            raise Unauthenticated("the token is for another audience")
        check_times(claims, LONGEST_TOKEN_SECONDS)
        if (service := self._services.get(str(claims.get("sub")))) is None:
            raise Unauthenticated("the token's service account stands for no service: see CLUSTER_SERVICES")
        return service

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            key_id = jws.extract_compact(token.encode()).headers().get("kid")
            if (key := await self._keys.find(str(key_id))) is None:
                raise Unauthenticated("the token is not signed by the cluster")
            return jwt.decode(token, key, algorithms=ALGORITHMS).claims
        except NOT_A_TOKEN as error:
            raise Unauthenticated("the token is not signed by the cluster") from error


def names_cluster_key(token: str) -> bool:
    """Whether a token claims to be signed as clusters sign; ours are signed otherwise."""
    try:
        return jws.extract_compact(token.encode()).headers().get("alg") in ALGORITHMS
    except NOT_A_TOKEN:
        return False


def _audiences(claims: Mapping[str, Any]) -> list[Any]:
    audience = claims.get("aud")
    return audience if isinstance(audience, list) else [audience]


class ProjectedTokens:
    """This service's own tokens: files that the kubelet renews, one for each audience and named after it."""

    def __init__(self, folder: Path, clock: Clock = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._tokens: dict[str, tuple[str, float]] = {}

    def service_token(self, audience: str) -> str:
        """Return the token for this audience; raise `Unavailable` where there is no such file."""
        token, read_at = self._tokens.get(audience, ("", float("-inf")))
        if self._clock() - read_at >= TOKEN_SECONDS:
            token = self._read(audience)
            self._tokens[audience] = token, self._clock()
        return token

    def _read(self, audience: str) -> str:
        try:
            return (self._folder / audience).read_text().strip()
        except OSError as error:
            raise Unavailable(f"no token for {audience} in SERVICE_TOKEN_DIR: {error.strerror}") from error
