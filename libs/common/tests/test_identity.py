"""Who may say what: every forged, borrowed or outdated statement is refused."""

import time
from pathlib import Path
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from common.errors import Unauthenticated
from common.identity import SERVICE_TOKEN_SECONDS, Signer, Verifier, new_key_pair

WORKSPACE = uuid4()


def test_a_service_token_names_its_service(gateway_signer: Signer, verifier: Verifier) -> None:
    assert verifier.service(gateway_signer.service_token("vault"), "vault") == "gateway"


def test_a_service_token_is_reused_until_it_is_nearly_over(
    gateway_signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gateway_signer.service_token("vault")
    assert gateway_signer.service_token("vault") == first
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SERVICE_TOKEN_SECONDS - 30)
    assert gateway_signer.service_token("vault") != first


def test_another_audience_is_refused(gateway_signer: Signer, verifier: Verifier) -> None:
    with pytest.raises(Unauthenticated, match="another audience"):
        verifier.service(gateway_signer.service_token("analytics"), "vault")


def test_an_expired_service_token_is_refused(
    gateway_signer: Signer, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, now = gateway_signer.service_token("late"), time.time()
    monkeypatch.setattr(time, "time", lambda: now + SERVICE_TOKEN_SECONDS + 60)
    with pytest.raises(Unauthenticated, match="expired"):
        verifier.service(token, "late")


def test_a_grant_carries_its_claims(gateway_signer: Signer, verifier: Verifier) -> None:
    key = uuid4()
    grant = verifier.grant(gateway_signer.grant(WORKSPACE, ("openai", "local"), 2_000_000_000, key))
    assert (grant.workspace_id, grant.providers, grant.key_id) == (WORKSPACE, ("openai", "local"), key)
    assert grant.expired(2_000_000_000)
    assert not grant.expired(1_999_999_999)


def test_only_the_gateway_grants(runner_signer: Signer, verifier: Verifier) -> None:
    with pytest.raises(Unauthenticated, match="not a grant"):
        verifier.grant(runner_signer.grant(WORKSPACE, ("openai",), 2_000_000_000))


def test_a_service_token_is_no_grant(gateway_signer: Signer, verifier: Verifier) -> None:
    with pytest.raises(Unauthenticated):
        verifier.grant(gateway_signer.service_token("tallyrun-grant"))


def test_a_service_cannot_speak_as_another(runner_signer: Signer, identity_dir: Path, verifier: Verifier) -> None:
    impostor = Signer("gateway", (identity_dir / "runner.key").read_bytes())
    with pytest.raises(Unauthenticated, match="known service"):
        verifier.service(impostor.service_token("vault"), "vault")


def test_a_strangers_signature_is_refused(verifier: Verifier) -> None:
    stranger = Signer("gateway", new_key_pair()[0])
    with pytest.raises(Unauthenticated):
        verifier.grant(stranger.grant(WORKSPACE, ("openai",), 2_000_000_000))


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
def test_nonsense_is_refused(token: str, verifier: Verifier) -> None:
    with pytest.raises(Unauthenticated):
        verifier.service(token, "vault")


def test_a_public_key_is_no_shared_secret(identity_dir: Path, verifier: Verifier) -> None:
    """Algorithm confusion: a token signed by HMAC with the public key as its secret."""
    public = OKPKey.import_key((identity_dir / "gateway.pub").read_bytes()).as_bytes(private=False)
    claims = {"iss": "gateway", "aud": "vault", "exp": 2_000_000_000}
    forged = jwt.encode({"alg": "HS256", "kid": "gateway"}, claims, OctKey.import_key(public.hex()))
    with pytest.raises(Unauthenticated):
        verifier.service(forged, "vault")
