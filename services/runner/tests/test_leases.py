"""Leases are shared, expire, and go when the vault says so."""

import asyncio
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from common.contracts.credentials_v1 import Lease, LeaseRequest
from common.contracts.runs_v1 import RunRequested
from common.errors import GrantRefused, NoApiKey
from common.identity import RUNS, Grant
from runner.leases import Leases

WORKSPACE, KEY = uuid4(), uuid4()
GRANT = Grant(
    grant_id=uuid4(), workspace_id=WORKSPACE, providers=("openai",), expires_at=2**31, operations=RUNS, issued_at=0
)
RUN = RunRequested(
    run_id=uuid4(), workspace_id=WORKSPACE, operation="chat", provider="openai", model="gpt-4o", body={},
    deadline=2, publish_by=2, accepted_at=1,
)  # fmt: skip


class CountingVault:
    """Counts what it is asked, and answers with the key's present revision."""

    def __init__(self) -> None:
        self.asked = 0
        self.revision = 1
        self.hold: asyncio.Event | None = None
        self.was_asked = asyncio.Event()
        self.refusal: Exception | None = None

    async def lease(self, request: LeaseRequest) -> Lease:
        self.asked += 1
        self.was_asked.set()
        lease = Lease(secret=SecretStr("s"), key_id=KEY, version=1, revision=self.revision, ttl_ms=60_000)
        if self.hold:
            await self.hold.wait()
        if self.refusal:
            raise self.refusal
        return lease


class Clock:
    """A clock that is set by hand, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_one_lease_serves_many_runs() -> None:
    vault = CountingVault()
    leases = Leases(vault)
    await asyncio.gather(*(leases.get(RUN, GRANT, "token") for _ in range(10)))
    await leases.get(RUN, GRANT, "token")
    assert vault.asked == 1


async def test_a_lease_ends_with_its_time() -> None:
    vault, clock = CountingVault(), Clock()
    leases = Leases(vault, clock)
    await leases.get(RUN, GRANT, "token")
    clock.now = 60.0
    await leases.get(RUN, GRANT, "token")
    assert vault.asked == 2


async def test_another_grant_needs_another_lease() -> None:
    vault = CountingVault()
    leases = Leases(vault)
    await leases.get(RUN, GRANT, "token")
    await leases.get(RUN, GRANT.model_copy(update={"grant_id": uuid4()}), "other")
    assert vault.asked == 2


async def test_an_eviction_drops_older_leases_only() -> None:
    vault = CountingVault()
    leases = Leases(vault)
    await leases.get(RUN, GRANT, "token")
    leases.evict(KEY, revision=1)  # what is held was issued at this very revision
    await leases.get(RUN, GRANT, "token")
    assert vault.asked == 1
    vault.revision = 2
    leases.evict(KEY, revision=2)
    assert (await leases.get(RUN, GRANT, "token")).revision == 2
    assert vault.asked == 2


async def test_a_lease_that_an_eviction_overtook_is_not_used() -> None:
    vault = CountingVault()
    vault.hold = asyncio.Event()
    leases = Leases(vault)
    waiting = asyncio.create_task(leases.get(RUN, GRANT, "token"))
    await vault.was_asked.wait()
    vault.revision = 2
    leases.evict(KEY, revision=2)
    vault.hold.set()
    assert (await waiting).revision == 2


async def test_a_revoked_grant_is_refused_without_asking() -> None:
    vault = CountingVault()
    leases = Leases(vault)
    await leases.get(RUN, GRANT, "token")
    leases.revoke(GRANT.grant_id)
    for _ in range(2):
        with pytest.raises(GrantRefused, match="revoked"):
            await leases.get(RUN, GRANT, "token")
    assert vault.asked == 1
    assert await leases.get(RUN, GRANT.model_copy(update={"grant_id": uuid4()}), "other")


async def test_a_lease_that_a_revocation_overtook_is_not_used() -> None:
    vault = CountingVault()
    vault.hold = asyncio.Event()
    leases = Leases(vault)
    waiting = [asyncio.create_task(leases.get(RUN, GRANT, "token")) for _ in range(3)]
    await vault.was_asked.wait()
    leases.revoke(GRANT.grant_id)
    vault.hold.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, GrantRefused) for result in results)


async def test_forgetting_drops_every_lease() -> None:
    vault = CountingVault()
    leases = Leases(vault)
    await leases.get(RUN, GRANT, "token")
    leases.forget()
    await leases.get(RUN, GRANT, "token")
    assert vault.asked == 2


async def test_a_refusal_reaches_every_run_and_is_not_remembered() -> None:
    vault = CountingVault()
    vault.refusal = NoApiKey("connect openai first")
    leases = Leases(vault)
    results = await asyncio.gather(*(leases.get(RUN, GRANT, "t") for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, NoApiKey) for result in results)
    vault.refusal = None
    assert await leases.get(RUN, GRANT, "t")


async def test_a_dropped_lease_is_asked_for_again() -> None:
    vault = CountingVault()
    leases = Leases(vault)
    leases.drop(await leases.get(RUN, GRANT, "token"))
    await leases.get(RUN, GRANT, "token")
    assert vault.asked == 2


def test_secrets_do_not_show() -> None:
    lease = Lease(secret=SecretStr("canary"), key_id=UUID(int=1), version=1, revision=1, ttl_ms=1)
    assert "canary" not in repr(lease)
    assert "canary" in lease.model_dump_json()
