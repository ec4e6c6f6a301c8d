"""A key is rotated under its id while it is leased, and expires."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import httpx2
import pytest

from common.contracts.credentials_v1 import KeyHistory, KeyView
from common.ids import now_ms
from vault.expiry import EXPIRING_MS, state_of

Connect = Callable[..., Awaitable[KeyView]]
NewGrant = Callable[..., str]
Lease = Callable[..., Awaitable[httpx2.Response]]

DAY_MS = 86_400_000


async def history(gateway: httpx2.AsyncClient, workspace: UUID, key_id: UUID) -> KeyHistory:
    answer = await gateway.get(f"/workspaces/{workspace}/keys/{key_id}")
    return KeyHistory.model_validate(answer.raise_for_status().json())


# Rotation


async def test_rotation_keeps_the_id_and_its_history(
    connect: Connect, gateway: httpx2.AsyncClient, sql: asyncpg.Connection, workspace: UUID
) -> None:
    old, new = secrets.token_urlsafe(), secrets.token_urlsafe()
    first = await connect(old)
    second = await connect(new)
    waiting = {"provider": "openai", "secret": secrets.token_urlsafe(), "actor": "ann"}
    await gateway.post(f"/workspaces/{workspace}/keys", json=waiting)
    assert second.id == first.id
    told = await history(gateway, workspace, first.id)
    assert told.key == second
    assert [version.state for version in told.versions] == ["retired", "active", "pending"]
    assert [version.preview for version in told.versions][:2] == [old[-4:], new[-4:]]
    retired, active, pending = told.versions
    assert retired.retired_at == active.activated_at
    assert (active.retired_at, pending.activated_at) == (None, None)
    sealed = await sql.fetch("SELECT sealed FROM key_versions WHERE key_id = $1 ORDER BY version", first.id)
    assert [row["sealed"] is not None for row in sealed] == [False, True, True]


async def test_a_key_that_was_never_active_and_a_strangers_have_no_history(
    gateway: httpx2.AsyncClient, connect: Connect, workspace: UUID
) -> None:
    saving = {"provider": "openai", "secret": secrets.token_urlsafe(), "actor": "ann"}
    saved = (await gateway.post(f"/workspaces/{workspace}/keys", json=saving)).json()
    theirs = await connect(secrets.token_urlsafe(), to=UUID(int=7))
    for key_id in (saved["key_id"], theirs.id):
        assert (await gateway.get(f"/workspaces/{workspace}/keys/{key_id}")).status_code == 404


@pytest.mark.parametrize("rotations", [10, pytest.param(500, marks=pytest.mark.soak)])
async def test_leases_go_on_while_a_key_is_rotated_and_are_never_of_a_version_that_was_replaced(
    connect: Connect, lease: Lease, new_grant: NewGrant, rotations: int
) -> None:
    """Each lease has the secret of its version, at least the one that was active when it was asked for."""
    known = {}
    secret = known[1] = secrets.token_urlsafe()
    key = await connect(secret)
    active, ended = 1, asyncio.Event()
    leased = []

    async def leasing(grant: str) -> None:
        while not ended.is_set():
            oldest = active
            answer = await lease(grant)
            assert answer.status_code == 200, answer.text
            body = answer.json()
            assert body["key_id"] == str(key.id)
            assert body["version"] >= oldest
            leased.append((body["version"], body["secret"]))

    callers = [asyncio.create_task(leasing(new_grant())) for _ in range(3)]
    for version in range(2, rotations + 2):
        before = len(leased)
        secret = known[version] = secrets.token_urlsafe()
        assert (await connect(secret)).version == version
        active = version
        while len(leased) < before + 5 and not any(caller.done() for caller in callers):
            await asyncio.sleep(0.001)
    ended.set()
    await asyncio.gather(*callers)
    print(f"{rotations} rotations, {len(leased)} leases, none failed")
    assert all(known[version] == secret for version, secret in leased)


# Expiry


def test_a_keys_state_follows_from_its_expiry() -> None:
    now = 1_700_000_000_000
    for expires_at, expected in (
        (None, "active"),
        (now + EXPIRING_MS + 1, "active"),
        (now + EXPIRING_MS, "expiring"),
        (now + 1, "expiring"),
        (now, "expired"),
    ):
        assert state_of(live=True, expires_at=expires_at, now=now) == expected
    assert state_of(live=False, expires_at=now, now=now) == "inactive"


async def expire(sql: asyncpg.Connection, key: KeyView, at: int) -> None:
    await sql.execute("UPDATE key_versions SET expires_at = $2 WHERE key_id = $1", key.id, at)


async def test_a_key_that_expires_soon_says_so_and_is_leased_until_then(
    connect: Connect, lease: Lease, gateway: httpx2.AsyncClient, sql: asyncpg.Connection, workspace: UUID
) -> None:
    expires_at = now_ms() + 13 * DAY_MS
    key = await connect(secrets.token_urlsafe(), expires_at=expires_at)
    assert (key.state, key.expires_at, key.is_active) == ("expiring", expires_at, True)
    (listed,) = (await gateway.get(f"/workspaces/{workspace}/keys")).json()
    assert (listed["state"], listed["expires_at"]) == ("expiring", expires_at)
    assert (await lease()).status_code == 200
    await expire(sql, key, now_ms() + 20_000)
    assert (await lease()).json()["ttl_ms"] <= 20_000


async def test_an_expired_key_is_not_leased_until_it_is_rotated(
    connect: Connect, lease: Lease, sql: asyncpg.Connection
) -> None:
    """Not even where an older key would do: whose money is spent is for its owners to say."""
    await connect(secrets.token_urlsafe(), name="older")
    key = await connect(secrets.token_urlsafe())
    await expire(sql, key, now_ms())
    refused = await lease()
    assert (refused.status_code, refused.json()["code"]) == (424, "api_key_expired")
    assert f"key {key.id} for openai expired on" in refused.json()["error"]
    assert "rotate it" in refused.json()["error"]
    assert (await lease(key_id=key.id)).status_code == 424
    audited = await sql.fetch("SELECT outcome, version FROM audit WHERE action = 'lease'")
    assert [tuple(row) for row in audited] == [("api_key_expired", None)] * 2
    secret = secrets.token_urlsafe()
    rotated = await connect(secret)
    assert (rotated.id, rotated.state, rotated.expires_at) == (key.id, "active", None)
    assert (await lease()).json()["secret"] == secret


async def test_a_key_that_has_expired_already_is_not_saved(
    gateway: httpx2.AsyncClient, sql: asyncpg.Connection, workspace: UUID
) -> None:
    saving = {"provider": "openai", "secret": secrets.token_urlsafe(), "actor": "ann", "expires_at": now_ms() - 1}
    answer = await gateway.post(f"/workspaces/{workspace}/keys", json=saving)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "in the past" in answer.json()["error"]
    assert await sql.fetchval("SELECT count(*) FROM keys WHERE workspace_id = $1", workspace) == 0
