"""A cluster's word for an account is believed if it is that cluster's, for us, now, and of an account we know."""

import json
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jwt
from joserfc.jwk import ECKey, KeyParameters, KeySet, OctKey, RSAKey

from common.callers import Callers
from common.errors import Unauthenticated, Unavailable
from common.identity import Signer, Verifier
from common.kubernetes import KEYS_SECONDS, REREAD_SECONDS, TOKEN_SECONDS, Cluster, ClusterKeys, ProjectedTokens
from common.settings import IdentitySettings

ISSUER = "https://kubernetes.default.svc.cluster.local"
ACCOUNTS = {"tallyrun:runner": "runner", "tallyrun:gateway": "gateway"}


@cache
def rsa_pem(cluster: str, key_id: str) -> bytes:
    """Made once: each takes a second or so on a busy machine."""
    return RSAKey.generate_key(2048).as_pem(private=True)


class Clock:
    """Set by hand, in seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class ApiServer:
    """Serves `/openid/v1/jwks`, and signs as its cluster does."""

    def __init__(self, name: str = "ours") -> None:
        self.name = name
        self.keys: dict[str, RSAKey | ECKey | OctKey] = {}
        self.asked = 0
        self.away = False
        self.url = ""

    def new_key(self, key_id: str, kind: str = "RSA") -> None:
        options: KeyParameters = {"kid": key_id, "use": "sig"}
        self.keys[key_id] = (
            RSAKey.import_key(rsa_pem(self.name, key_id), options)
            if kind == "RSA"
            else ECKey.generate_key("P-256", options)
        )

    async def jwks(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.away:
            return web.Response(status=503)
        return web.json_response(KeySet(list(self.keys.values())).as_dict(private=False))

    def token(
        self, key_id: str = "one", algorithm: str = "RS256", account: str = "tallyrun:runner", **more: Any
    ) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": ["vault"], "sub": f"system:serviceaccount:{account}",
            "iat": now, "nbf": now, "exp": now + 600, **more,
        }  # fmt: skip
        header = {"alg": algorithm, "kid": key_id}
        return jwt.encode(header, claims, self.keys[key_id], algorithms=[algorithm])


@pytest.fixture
async def api_server() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    server.new_key("one")
    app = web.Application()
    app.router.add_get("/openid/v1/jwks", server.jwks)
    async with TestServer(app) as running:
        server.url = str(running.make_url("/openid/v1/jwks"))
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cluster(api_server: ApiServer, clock: Clock) -> Cluster:
    return Cluster(ClusterKeys(api_server.url, clock), ISSUER, ACCOUNTS)


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS256"), ("EC", "ES256")])
async def test_an_account_stands_for_its_service(
    api_server: ApiServer, cluster: Cluster, kind: str, algorithm: str
) -> None:
    api_server.new_key("own", kind)
    assert await cluster.service(api_server.token("own", algorithm), "vault") == "runner"
    other = api_server.token("own", algorithm, account="tallyrun:gateway", aud="vault")
    assert await cluster.service(other, "vault") == "gateway"


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"iss": "https://another"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": ["analytics"]}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"account": "other:runner"}, "no service"),
        ({"account": "tallyrun:default"}, "no service"),
        ({"sub": "tallyrun:runner"}, "no service"),
        ({"sub": "system:serviceaccount:tallyrun:runner:x"}, "no service"),
        ({"sub": None}, "no service"),
        ({"exp": 0}, "expired"),
        ({"exp": None}, "no time"),
        ({"nbf": int(time.time()) + 3600}, "future"),
        ({"exp": int(time.time()) + 365 * 86_400}, "longer"),
    ],
)
async def test_any_other_word_is_refused(
    api_server: ApiServer, cluster: Cluster, said: dict[str, Any], fault: str
) -> None:
    with pytest.raises(Unauthenticated, match=fault):
        await cluster.service(api_server.token(**said), "vault")


async def test_only_the_clusters_algorithms_count(api_server: ApiServer, cluster: Cluster) -> None:
    for algorithm in ("RS384", "PS256"):
        with pytest.raises(Unauthenticated, match="not signed by the cluster"):
            await cluster.service(api_server.token(algorithm=algorithm), "vault")
    public = api_server.keys["one"].as_pem(private=False)  # type: ignore[union-attr] # it is RSA
    shared = ApiServer()
    shared.keys["one"] = OctKey.import_key(public.hex(), {"kid": "one"})
    with pytest.raises(Unauthenticated, match="not signed by the cluster"):
        await cluster.service(shared.token(algorithm="HS256"), "vault")


async def test_a_strangers_key_of_the_same_id_is_refused(api_server: ApiServer, cluster: Cluster) -> None:
    stranger = ApiServer("theirs")
    stranger.new_key("one")
    with pytest.raises(Unauthenticated, match="not signed by the cluster"):
        await cluster.service(stranger.token(), "vault")


async def test_an_unknown_key_is_looked_for_once_in_a_while(
    api_server: ApiServer, cluster: Cluster, clock: Clock
) -> None:
    await cluster.service(api_server.token(), "vault")
    api_server.new_key("two")
    rotated = api_server.token("two")
    for _ in range(50):
        with pytest.raises(Unauthenticated):
            await cluster.service(rotated, "vault")
    assert api_server.asked == 1
    clock.now += REREAD_SECONDS
    assert await cluster.service(rotated, "vault") == "runner"
    assert await cluster.service(api_server.token(), "vault") == "runner"
    assert api_server.asked == 2


async def test_a_key_that_is_taken_back_counts_no_longer_than_ten_minutes(
    api_server: ApiServer, cluster: Cluster, clock: Clock
) -> None:
    token = api_server.token()
    await cluster.service(token, "vault")
    del api_server.keys["one"]
    api_server.new_key("two")
    clock.now += KEYS_SECONDS - 1
    assert await cluster.service(token, "vault") == "runner"
    clock.now += 1
    with pytest.raises(Unauthenticated):
        await cluster.service(token, "vault")


async def test_known_keys_outlast_an_api_server_that_is_away(
    api_server: ApiServer, cluster: Cluster, clock: Clock
) -> None:
    await cluster.service(api_server.token(), "vault")
    api_server.away = True
    clock.now += KEYS_SECONDS
    assert await cluster.service(api_server.token(), "vault") == "runner"


async def test_without_any_key_it_is_our_fault_and_not_the_callers(api_server: ApiServer, cluster: Cluster) -> None:
    api_server.away = True
    with pytest.raises(Unavailable):
        await cluster.service(api_server.token(), "vault")


async def test_keys_come_from_a_file_too(api_server: ApiServer, tmp_path: Path) -> None:
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps(KeySet(list(api_server.keys.values())).as_dict(private=False)))
    settings = IdentitySettings(
        identity_dir=tmp_path, cluster_issuer=ISSUER, cluster_jwks=str(jwks), cluster_services=ACCOUNTS
    )
    callers = Callers.load("vault", settings)
    assert await callers.recognised(api_server.token()) == "runner"
    assert api_server.asked == 0


@pytest.mark.parametrize("missing", ["cluster_issuer", "cluster_jwks", "cluster_services"])
def test_half_a_cluster_is_refused(tmp_path: Path, missing: str) -> None:
    whole: dict[str, Any] = {"cluster_issuer": ISSUER, "cluster_jwks": "keys", "cluster_services": ACCOUNTS}
    with pytest.raises(ValueError, match="belong together"):
        IdentitySettings(identity_dir=tmp_path, **{**whole, missing: None if missing != "cluster_services" else {}})


async def test_both_kinds_of_identity_live_side_by_side(
    api_server: ApiServer, cluster: Cluster, verifier: Verifier, runner_signer: Signer
) -> None:
    callers = Callers("vault", verifier, cluster)
    assert await callers.recognised(api_server.token()) == "runner"
    assert await callers.recognised(runner_signer.service_token("vault")) == "runner"
    without = Callers("vault", verifier)
    with pytest.raises(Unauthenticated):
        await without.recognised(api_server.token())


def test_a_projected_token_is_read_again_each_minute(tmp_path: Path, clock: Clock) -> None:
    tokens = ProjectedTokens(tmp_path, clock)
    with pytest.raises(Unavailable, match="SERVICE_TOKEN_DIR"):
        tokens.service_token("vault")
    (tmp_path / "vault").write_text("first\n")
    assert tokens.service_token("vault") == "first"
    (tmp_path / "vault").write_text("second\n")
    clock.now += TOKEN_SECONDS - 1
    assert tokens.service_token("vault") == "first"
    clock.now += 1
    assert tokens.service_token("vault") == "second"
