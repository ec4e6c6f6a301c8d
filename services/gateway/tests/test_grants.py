"""Grants are shared for about a minute, and never fall short of a deadline."""

from uuid import uuid4

from common.identity import Signer, Verifier
from gateway.grants import MARGIN_SECONDS, REMEMBERED, RENEW_SECONDS, Grants

DEADLINE = 2_000_000_000_500
LIFETIME = 30_000


def test_shared_until_it_would_fall_short(gateway_signer: Signer, verifier: Verifier) -> None:
    grants, workspace = Grants(gateway_signer), uuid4()
    first = grants.shared(workspace, "openai", DEADLINE, LIFETIME)
    assert grants.shared(workspace, "openai", DEADLINE + RENEW_SECONDS * 1000, LIFETIME) == first
    renewed = grants.shared(workspace, "openai", DEADLINE + RENEW_SECONDS * 1000 + 1000, LIFETIME)
    assert renewed != first
    for token, deadline in ((first, DEADLINE + RENEW_SECONDS * 1000), (renewed, DEADLINE + 61_000)):
        assert verifier.grant(token).expires_at * 1000 >= deadline + MARGIN_SECONDS * 1000


def test_nobody_shares_another_ones(gateway_signer: Signer, verifier: Verifier) -> None:
    grants, workspace = Grants(gateway_signer), uuid4()
    tokens = {
        grants.shared(workspace, "openai", DEADLINE, LIFETIME),
        grants.shared(workspace, "anthropic", DEADLINE, LIFETIME),
        grants.shared(uuid4(), "openai", DEADLINE, LIFETIME),
        grants.shared(workspace, "openai", DEADLINE, 2 * LIFETIME),
        grants.for_key(workspace, "openai", DEADLINE, uuid4()),
        grants.for_key(workspace, "openai", DEADLINE, uuid4()),
    }
    assert len(tokens) == 6


def test_memory_is_bounded() -> None:
    class Cheap(Signer):
        def __init__(self) -> None:
            self.signed = 0

        def grant(self, *_: object, **__: object) -> str:
            self.signed += 1
            return str(self.signed)

    grants = Grants(Cheap())
    for _ in range(REMEMBERED + 5):
        grants.shared(uuid4(), "openai", DEADLINE, LIFETIME)
    assert len(grants._current) == 5
