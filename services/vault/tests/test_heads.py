"""What is published of the chains, and when."""

import os
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from common.contracts.audit_v1 import AuditHead, AuditHeads
from common.errors import Unauthenticated, Unavailable
from common.identity import Signer, Verifier
from vault.chain import NO_WORKSPACE, Head
from vault.heads import ANEW_SECONDS, PER_STATEMENT, STATEMENT, Heads
from vault.published import NotTheVaults, stated

BACKWARDS = "tallyrun_vault_audit_backwards_total"


class Chains:
    """Heads as the database has them, and what was published of them."""

    def __init__(self, signer: Signer) -> None:
        self.heads: dict[UUID, Head] = {}
        self.statements: list[str] = []
        self.away = False
        self.now = 0.0
        self.publishing = Heads(self, signer, self._publish, lambda: self.now)

    async def audit_heads(self) -> dict[UUID, Head]:
        return dict(self.heads)

    async def _publish(self, heads: AuditHeads) -> None:
        if self.away:
            raise Unavailable("away")
        self.statements.append(heads.statement)

    def move(self, chain: UUID, seq: int) -> None:
        self.heads[chain] = Head(seq, os.urandom(32), 1_000 + seq)

    async def published(self, verifier: Verifier) -> list[AuditHead]:
        """Publish, and return what was."""
        self.statements.clear()
        await self.publishing.publish()
        return [head for statement in self.statements for head in stated(verifier, statement).heads]


@pytest.fixture
def chains(vault_signer: Signer) -> Chains:
    return Chains(vault_signer)


async def test_only_heads_that_moved_are_published_again(chains: Chains, verifier: Verifier) -> None:
    still, moving = uuid4(), uuid4()
    chains.move(still, 1)
    chains.move(moving, 1)
    assert {head.workspace_id for head in await chains.published(verifier)} == {still, moving}
    assert await chains.published(verifier) == []
    chains.move(moving, 2)
    (head,) = await chains.published(verifier)
    assert (head.workspace_id, head.seq, head.mac) == (moving, 2, chains.heads[moving].mac.hex())


async def test_once_a_day_all_are_published(chains: Chains, verifier: Verifier) -> None:
    for number in range(PER_STATEMENT + 1):
        chains.move(uuid4(), number + 1)
    assert len(await chains.published(verifier)) == PER_STATEMENT + 1
    assert len(chains.statements) == 2
    chains.now = ANEW_SECONDS - 1
    assert await chains.published(verifier) == []
    chains.now = ANEW_SECONDS
    assert len(await chains.published(verifier)) == PER_STATEMENT + 1
    assert await chains.published(verifier) == []


async def test_what_the_broker_did_not_take_is_published_with_the_next(chains: Chains, verifier: Verifier) -> None:
    chains.move(NO_WORKSPACE, 1)
    chains.away = True
    with pytest.raises(Unavailable):
        await chains.published(verifier)
    chains.away = False
    (head,) = await chains.published(verifier)
    assert head.workspace_id is None


async def test_a_chain_that_went_back_raises_the_alarm(
    chains: Chains, verifier: Verifier, caplog: pytest.LogCaptureFixture
) -> None:
    shorter, other, gone, longer = (uuid4() for _ in range(4))
    for chain in (shorter, other, gone, longer):
        chains.move(chain, 5)
    await chains.published(verifier)
    before = REGISTRY.get_sample_value(BACKWARDS) or 0
    chains.move(shorter, 4)
    chains.move(other, 5)
    del chains.heads[gone]
    chains.move(longer, 6)
    await chains.published(verifier)
    alarms = [vars(record)["chain"] for record in caplog.records if record.levelname == "ERROR"]
    assert sorted(alarms) == sorted(map(str, (shorter, other, gone)))
    assert REGISTRY.get_sample_value(BACKWARDS) == before + 3


def test_only_the_vaults_statement_on_heads_counts(
    vault_signer: Signer, gateway_signer: Signer, verifier: Verifier
) -> None:
    claims: dict[str, object] = {"at": 1, "heads": []}
    assert stated(verifier, vault_signer.statement(STATEMENT, claims)).heads == ()
    for refused in (
        gateway_signer.statement(STATEMENT, claims),
        vault_signer.statement("something else", claims),
        vault_signer.statement(STATEMENT, {"at": 1}),
        vault_signer.service_token("vault"),
        "nonsense",
    ):
        with pytest.raises(NotTheVaults):
            stated(verifier, refused)


def test_a_statement_is_no_token_and_no_grant(vault_signer: Signer, verifier: Verifier) -> None:
    statement = vault_signer.statement(STATEMENT, {"aud": "gateway", "iss": "gateway", "exp": 4_000_000_000})
    for service in ("gateway", "vault", "analytics", "runner"):
        with pytest.raises(Unauthenticated):
            verifier.service(statement, service)
    with pytest.raises(Unauthenticated):
        verifier.grant(statement)
