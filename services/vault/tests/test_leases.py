"""Who gets which key for how long, over HTTP."""

import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr

from common.contracts.credentials_v1 import KeyView, LeaseRequest
from common.errors import Unavailable
from common.identity import Signer, Verifier, new_key_pair
from common.ids import new_id
from vault.chain import NO_WORKSPACE
from vault.envelope import Context
from vault.keyring import Keyring
from vault.leases import Leases
from vault.store import Store

Connect = Callable[..., Awaitable[KeyView]]
NewGrant = Callable[..., str]
Lease = Callable[..., Awaitable[httpx2.Response]]


def new_secret() -> str:
    return secrets.token_urlsafe(24)


async def save(gateway: httpx2.AsyncClient, workspace: UUID, secret: str) -> dict[str, str]:
    body = {"provider": "openai", "secret": secret, "actor": "ann"}
    saved: dict[str, str] = (await gateway.post(f"/workspaces/{workspace}/keys", json=body)).raise_for_status().json()
    return saved


def refused(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# What is leased


async def test_a_run_gets_the_key_of_its_workspace(connect: Connect, lease: Lease) -> None:
    secret = new_secret()
    key = await connect(secret)
    answer = await lease()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    leased = answer.json()
    assert (leased["secret"], leased["key_id"], leased["version"]) == (secret, str(key.id), 1)
    assert 0 < leased["ttl_ms"] <= 60_000


async def test_of_several_keys_the_newest_is_leased_unless_the_run_names_one(connect: Connect, lease: Lease) -> None:
    old, new = new_secret(), new_secret()
    first = await connect(old, name="first")
    await connect(new, name="second")
    assert (await lease()).json()["secret"] == new
    assert (await lease(key_id=first.id)).json()["secret"] == old


async def test_a_key_that_waits_is_no_newest_key(
    connect: Connect, lease: Lease, gateway: httpx2.AsyncClient, workspace: UUID
) -> None:
    secret = new_secret()
    await connect(secret, name="first")
    await save(gateway, workspace, new_secret())
    assert (await lease()).json()["secret"] == secret


async def test_a_deactivated_key_gives_way_to_the_next_newest(
    connect: Connect, lease: Lease, gateway: httpx2.AsyncClient, workspace: UUID
) -> None:
    secret = new_secret()
    await connect(secret, name="first")
    second = await connect(new_secret(), name="second")
    gone = await gateway.delete(f"/workspaces/{workspace}/keys/{second.id}", params={"actor": "ann"})
    assert gone.status_code == 204
    assert (await lease()).json()["secret"] == secret
    assert refused(await lease(key_id=second.id)) == (409, "no_api_key")


async def test_a_lease_does_not_outlive_its_grant(connect: Connect, lease: Lease, new_grant: NewGrant) -> None:
    await connect(new_secret())
    assert (await lease(new_grant(seconds=5))).json()["ttl_ms"] <= 5_000


async def test_a_rotation_is_leased_once_it_is_active_under_a_later_revision(connect: Connect, lease: Lease) -> None:
    secret = new_secret()
    await connect(new_secret())
    before = (await lease()).json()
    await connect(secret)
    after = (await lease()).json()
    assert (after["secret"], after["key_id"], after["version"]) == (secret, before["key_id"], 2)
    assert after["revision"] > before["revision"]


# Checks


async def test_a_check_gets_the_version_that_waits_and_only_a_check_does(
    connect: Connect, lease: Lease, new_grant: NewGrant, gateway: httpx2.AsyncClient, workspace: UUID
) -> None:
    old, new = new_secret(), new_secret()
    await connect(old)
    saved = await save(gateway, workspace, new)
    grant = new_grant(key_id=saved["key_id"])
    checked = (await lease(grant, operation="check")).json()
    assert (checked["secret"], checked["version"]) == (new, 2)
    assert (await lease(grant)).json()["secret"] == old


async def test_a_check_without_a_key_of_its_own_is_refused(
    lease: Lease, gateway: httpx2.AsyncClient, workspace: UUID
) -> None:
    saved = await save(gateway, workspace, new_secret())
    assert refused(await lease(operation="check")) == (403, "grant_refused")
    assert refused(await lease(operation="check", key_id=saved["key_id"])) == (403, "grant_refused")


async def test_a_check_of_a_key_in_use_gets_that_and_of_a_deactivated_one_nothing(
    connect: Connect, lease: Lease, new_grant: NewGrant, gateway: httpx2.AsyncClient, workspace: UUID
) -> None:
    secret = new_secret()
    key = await connect(secret)
    grant = new_grant(key_id=key.id)
    assert (await lease(grant, operation="check")).json()["secret"] == secret
    await gateway.delete(f"/workspaces/{workspace}/keys/{key.id}", params={"actor": "ann"})
    assert refused(await lease(grant, operation="check")) == (409, "no_api_key")


async def test_a_grant_for_one_key_opens_no_other(connect: Connect, lease: Lease, new_grant: NewGrant) -> None:
    secret = new_secret()
    first = await connect(secret, name="first")
    second = await connect(new_secret(), name="second")
    assert (await lease(new_grant(key_id=first.id))).json()["secret"] == secret
    assert refused(await lease(new_grant(key_id=first.id), key_id=second.id)) == (403, "grant_refused")


# Who is refused


async def test_a_workspace_without_a_key_is_told_which_provider_to_connect(lease: Lease, new_grant: NewGrant) -> None:
    answer = await lease(new_grant(providers=("anthropic",)), provider="anthropic")
    assert refused(answer) == (409, "no_api_key")
    assert "connect anthropic" in answer.json()["error"]


async def test_a_key_of_another_provider_is_no_key(connect: Connect, lease: Lease, new_grant: NewGrant) -> None:
    key = await connect(new_secret())
    grant = new_grant(providers=("openai", "anthropic"))
    assert refused(await lease(grant, provider="anthropic", key_id=key.id)) == (409, "no_api_key")


async def test_another_workspaces_key_is_no_key(connect: Connect, lease: Lease, new_grant: NewGrant) -> None:
    theirs = await connect(new_secret(), to=new_id())
    assert refused(await lease()) == (409, "no_api_key")
    assert refused(await lease(key_id=theirs.id)) == (409, "no_api_key")
    assert refused(await lease(new_grant(key_id=theirs.id))) == (409, "no_api_key")


async def test_a_grant_that_does_not_cover_the_request_is_refused(
    connect: Connect, lease: Lease, new_grant: NewGrant, runner_signer: Signer, workspace: UUID
) -> None:
    await connect(new_secret())
    stranger = Signer("gateway", new_key_pair()[0])
    in_an_hour = 4_000_000_000
    for grant in (
        new_grant(seconds=-1),
        new_grant(providers=("anthropic",)),
        runner_signer.grant(workspace, ("openai",), in_an_hour),
        stranger.grant(workspace, ("openai",), in_an_hour),
        runner_signer.service_token("vault"),
        new_grant()[:-4],
        "nonsense",
    ):
        assert refused(await lease(grant)) == (403, "grant_refused")


async def test_only_a_runner_gets_leases(
    connect: Connect,
    new_grant: NewGrant,
    anyone: httpx2.AsyncClient,
    gateway_signer: Signer,
    runner_signer: Signer,
) -> None:
    await connect(new_secret())
    asked = {"grant": new_grant(), "provider": "openai", "operation": "chat"}
    stranger = Signer("runner", new_key_pair()[0])
    for token, expected in (
        (None, (401, "unauthenticated")),
        ("nonsense", (401, "unauthenticated")),
        (stranger.service_token("vault"), (401, "unauthenticated")),
        (runner_signer.service_token("analytics"), (401, "unauthenticated")),
        (new_grant(), (401, "unauthenticated")),
        (gateway_signer.service_token("vault"), (403, "forbidden")),
        (runner_signer.service_token("vault"), None),
    ):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        answer = await anyone.post("/leases", json=asked, headers=headers)
        assert (None if answer.is_success else refused(answer)) == expected


async def test_only_the_gateway_manages_keys(
    anyone: httpx2.AsyncClient, runner: httpx2.AsyncClient, workspace: UUID
) -> None:
    keys = f"/workspaces/{workspace}/keys"
    saving = {"provider": "openai", "secret": new_secret(), "actor": "ann"}
    calls: list[tuple[str, str, object]] = [
        ("POST", keys, saving),
        ("GET", keys, None),
        ("POST", f"{keys}/{new_id()}/versions/1/activate", {"verified": True, "actor": "ann"}),
        ("DELETE", f"{keys}/{new_id()}/versions/1", None),
        ("DELETE", f"{keys}/{new_id()}?actor=ann", None),
    ]
    for method, path, body in calls:
        assert refused(await anyone.request(method, path, json=body)) == (401, "unauthenticated")
        assert refused(await runner.request(method, path, json=body)) == (403, "forbidden")


# No audit, no reveal


async def test_every_decision_on_a_lease_is_audited(
    connect: Connect, lease: Lease, new_grant: NewGrant, sql: asyncpg.Connection, workspace: UUID
) -> None:
    key, elsewhere = await connect(new_secret()), new_id()
    await lease()
    await lease(new_grant(seconds=-1))
    await lease(new_grant(to=elsewhere))
    await lease("nonsense")
    rows = await sql.fetch("SELECT * FROM audit WHERE action = 'lease' ORDER BY seq")
    done, expired = (row for row in rows if row["chain"] == workspace)
    (without_key,) = (row for row in rows if row["chain"] == elsewhere)
    (forged,) = (row for row in rows if row["chain"] == NO_WORKSPACE)
    outcomes = [row["outcome"] for row in (done, expired, without_key, forged)]
    assert outcomes == ["done", "grant_refused", "no_api_key", "grant_refused"]
    assert (done["workspace_id"], done["key_id"], done["version"]) == (workspace, key.id, 1)
    assert (done["actor"], done["operation"], done["provider"]) == ("runner", "chat", "openai")
    assert done["grant_id"] is not None
    assert (expired["workspace_id"], expired["key_id"]) == (workspace, None)
    assert (forged["workspace_id"], forged["grant_id"]) == (None, None)


FAIL_AT_INSERT = "ALTER TABLE audit ADD CONSTRAINT full_disk CHECK (false) NOT VALID"
FAIL_AT_COMMIT = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full disk'; END $$;
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse();
"""


class Watched:
    """A keyring that counts what it opens."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.opened = 0

    async def open(self, context: Context, sealed: bytes) -> SecretStr:
        self.opened += 1
        return await self._keyring.open(context, sealed)


@pytest.mark.parametrize("failure", [FAIL_AT_INSERT, FAIL_AT_COMMIT])
async def test_without_an_audit_row_nothing_is_opened(
    connect: Connect,
    lease: Lease,
    new_grant: NewGrant,
    store: Store,
    verifier: Verifier,
    sql: asyncpg.Connection,
    failure: str,
) -> None:
    secret = new_secret()
    await connect(secret)
    assert (await lease()).json()["secret"] == secret
    await sql.execute(failure)
    answer = await lease()
    assert refused(answer) == (503, "unavailable")
    assert secret not in answer.text
    watched = Watched(Keyring(store, []))
    request = LeaseRequest(grant=new_grant(), provider="openai", operation="chat")
    with pytest.raises(Unavailable):
        await Leases(store, watched, verifier).lease(request, "runner")
    assert watched.opened == 0
