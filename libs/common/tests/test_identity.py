"""Who may say what: every forged, borrowed or outdated statement is refused."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from common.errors import Unauthenticated
from common.identity import (
    CLOCK_SKEW_SECONDS,
    RUNS,
    SERVICE_TOKEN_SECONDS,
    Session,
    Signer,
    Verifier,
    new_key_pair,
)

WORKSPACE = uuid4()


def test_a_service_token_names_its_service(gateway_signer: Signer, verifier: Verifier) -> None:
    assert verifier.service(gateway_signer.service_token("vault"), "vault") == "gateway"


def test_a_service_token_is_reused_until_it_is_nearly_over(
    gateway_signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = gateway_signer.service_token("reused")
    assert gateway_signer.service_token("reused") == first
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SERVICE_TOKEN_SECONDS - 30)
    assert gateway_signer.service_token("reused") != first


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
    assert grant.operations == RUNS
    assert grant.fault(2_000_000_000) == "the grant has expired"
    assert grant.fault(1_999_999_999) is None
    assert grant.fault(grant.issued_at - CLOCK_SKEW_SECONDS) is None
    assert grant.fault(grant.issued_at - CLOCK_SKEW_SECONDS - 1) == "the grant lies in the future"


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


DEEP = urlsafe_b64encode(b"[" * 100_000).decode()


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", f"{DEEP}.e30.", "é", "\0"])
def test_nonsense_is_refused(token: str, verifier: Verifier) -> None:
    with pytest.raises(Unauthenticated):
        verifier.service(token, "vault")


def claims(**changed: object) -> dict[str, object]:
    now = int(time.time())
    return {"iss": "gateway", "aud": "vault", "iat": now, "exp": now + SERVICE_TOKEN_SECONDS, **changed}


def encoded(part: object) -> str:
    return urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def hmac_signed(header: dict[str, object], secret: bytes) -> str:
    """Signed by hand: the library refuses to take a public key for a secret."""
    signed = f"{encoded(header)}.{encoded(claims())}"
    signature = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


@pytest.mark.parametrize("algorithm", ["HS256", "Ed25519", "EdDSA", "none"])
def test_a_public_key_is_no_shared_secret(identity_dir: Path, verifier: Verifier, algorithm: str) -> None:
    """Algorithm confusion: a token signed by HMAC with the public key, or with nothing, as its secret."""
    pem = (identity_dir / "gateway.pub").read_bytes()
    key = OKPKey.import_key(pem).as_dict(private=False)["x"]
    for secret in (pem, pem.strip(), str(key).encode(), b""):
        with pytest.raises(Unauthenticated):
            verifier.service(hmac_signed({"alg": algorithm, "kid": "gateway"}, secret), "vault")


def test_an_unsigned_token_is_refused(verifier: Verifier) -> None:
    with pytest.raises(Unauthenticated):
        verifier.service(f"{encoded({'alg': 'none', 'kid': 'gateway'})}.{encoded(claims())}.", "vault")


def test_a_key_that_the_token_brings_along_is_not_used(verifier: Verifier) -> None:
    own = OKPKey.generate_key("Ed25519")
    for header in ({"jwk": own.as_dict(private=False)}, {"jku": "http://localhost/keys"}):
        forged = jwt.encode({"alg": "Ed25519", "kid": "gateway", **header}, claims(), own, algorithms=["Ed25519"])
        with pytest.raises(Unauthenticated):
            verifier.service(forged, "vault")


def signed(identity_dir: Path, key_id: str, /, **changed: object) -> str:
    key = OKPKey.import_key((identity_dir / "gateway.key").read_bytes())
    return jwt.encode({"alg": "Ed25519", "kid": key_id}, claims(**changed), key, algorithms=["Ed25519"])


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"iat": 60, "exp": 60}, "in the future"),
        ({"nbf": 60}, "in the future"),
        ({"iat": 20}, None),  # a clock may be 30 s ahead
        ({"iat": -320, "exp": -20}, None),  # or behind
        ({"iat": -360, "exp": -60}, "expired"),
        ({"exp": 601}, "longer than 600 s"),
        ({"exp": None}, "no time 'exp'"),
        ({"iat": None}, "no time 'iat'"),
    ],
)
def test_a_token_holds_for_minutes_only(
    identity_dir: Path, verifier: Verifier, said: dict[str, int | None], fault: str | None
) -> None:
    now = int(time.time())
    token = signed(identity_dir, "gateway", **{name: None if at is None else now + at for name, at in said.items()})
    if fault is None:
        assert verifier.service(token, "vault") == "gateway"
        return
    with pytest.raises(Unauthenticated, match=fault):
        verifier.service(token, "vault")


@pytest.mark.parametrize("audience", [None, "", "analytics", ["vault", "analytics"], ["vault"]])
def test_a_token_is_for_exactly_one_audience(identity_dir: Path, verifier: Verifier, audience: object) -> None:
    with pytest.raises(Unauthenticated, match="another audience"):
        verifier.service(signed(identity_dir, "gateway", aud=audience), "vault")


@pytest.mark.parametrize(("key_id", "issuer"), [("gateway", "runner"), ("runner", "gateway"), ("nobody", "nobody")])
def test_key_and_issuer_are_of_one_service(identity_dir: Path, verifier: Verifier, key_id: str, issuer: str) -> None:
    with pytest.raises(Unauthenticated):
        verifier.service(signed(identity_dir, key_id, iss=issuer), "vault")


def test_a_session_stands_for_a_token_until_it_is_over(
    gateway_signer: Signer, runner_signer: Signer, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(bytes(range(32)), int(time.time()) + 60)
    signed = gateway_signer.session(session)
    assert verifier.session(signed) == gateway_signer.verifier().session(signed) == session
    for other in (runner_signer.session(session), gateway_signer.service_token("vault"), signed[:-4], ""):
        with pytest.raises(Unauthenticated):
            verifier.session(other)
    with pytest.raises(Unauthenticated, match="another audience"):
        verifier.service(signed, "gateway")
    monkeypatch.setattr(time, "time", lambda: session.expires_at)
    with pytest.raises(Unauthenticated, match="sign in again"):
        verifier.session(signed)
