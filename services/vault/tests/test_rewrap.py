"""Rewrapping while the vault serves: killed anywhere, beside rotations, over damaged secrets, to a transit server."""

import asyncio
import base64
import math
import os
import random
import secrets
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import httpx2
import pytest
from pydantic import SecretStr
from tests.support.keyring import QuickMasterKey
from tests.support.transit import transit_server

from common.identity import Signer
from common.ids import new_id
from vault.app import create_app
from vault.envelope import Context, Sealed
from vault.kek_versions import add, promote, retire
from vault.keyring import KekMissing, Keyring
from vault.master_key import MasterKey, MasterKeyRefused
from vault.rewrap import BATCH, Rewrap
from vault.settings import VaultSettings
from vault.sources import unlock
from vault.store import Store
from vault.transit import Transit

Secrets = dict[UUID, tuple[Context, str]]
"""Workspace → its one key's context, and the secret that a lease must return."""

CALLERS = 2
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
ROTATIONS = 20


async def stored(sql: asyncpg.Connection, keyring: Keyring, many: int) -> Secrets:
    """Store so many active keys under version 1, each in a workspace of its own."""
    found: Secrets = {}
    for _ in range(many):
        context = Context(new_id(), "openai", new_id(), 1)
        found[context.workspace_id] = context, f"key-{secrets.token_hex()}"
    keys = [(c.key_id, c.workspace_id, c.provider, "default", 1, 1, 1, 0, None) for c, _ in found.values()]
    versions = [
        (c.key_id, 1, await keyring.seal(1, c, SecretStr(secret)), secret[-4:], True, 0, 0)
        for c, secret in found.values()
    ]
    await sql.copy_records_to_table("keys", records=keys)
    columns = ["key_id", "version", "sealed", "preview", "verified", "created_at", "activated_at"]
    await sql.copy_records_to_table("key_versions", records=versions, columns=columns)
    return found


async def sealed(sql: asyncpg.Connection, context: Context) -> bytes:
    found: bytes = await sql.fetchval("SELECT sealed FROM key_versions WHERE key_id = $1", context.key_id)
    return found


@pytest.fixture
async def both(store: Store, keyring: Keyring, master: QuickMasterKey) -> Keyring:
    """A keyring with a second version, which is the primary one."""
    new = QuickMasterKey()
    await add(store, new)
    both = Keyring(store, [new, master])
    await promote(store, both, 2)
    return both


async def test_over_several_batches_only_wraps_change(store: Store, both: Keyring, sql: asyncpg.Connection) -> None:
    found = await stored(sql, both, 2 * BATCH + 1)
    before = {context: Sealed.parse(await sealed(sql, context)) for context, _ in found.values()}
    batches: list[int] = []
    outcome = await Rewrap(store, both).run(batches.append)
    assert (outcome.rewrapped, outcome.changed, outcome.damaged) == (2 * BATCH + 1, 0, [])
    assert batches == [BATCH, BATCH, 1]
    assert await store.kek_uses() == {2: 2 * BATCH + 1}
    for context, secret in found.values():
        envelope = await sealed(sql, context)
        assert Sealed.parse(envelope).body == before[context].body
        assert (await both.open(context, envelope)).get_secret_value() == secret
    assert (await Rewrap(store, both).run(batches.append)).rewrapped == 0


async def test_an_envelope_that_changed_since_it_was_read_is_left_alone(
    store: Store, both: Keyring, sql: asyncpg.Connection
) -> None:
    ((context, _), (other, _)) = (await stored(sql, both, 2)).values()
    new = await both.seal(1, context, SecretStr("what a rotation brought"))

    class Rotated:
        """Between the reading and the writing, somebody rotates one of the two."""

        async def rewrap(self, kek_version: int, of: Context, envelope: bytes) -> bytes:
            if of == context:
                await sql.execute("UPDATE key_versions SET sealed = $1 WHERE key_id = $2", new, context.key_id)
            return await both.rewrap(kek_version, of, envelope)

    outcome = await Rewrap(store, Rotated()).run(lambda _: None)
    assert (outcome.rewrapped, outcome.changed) == (1, 1)
    assert await sealed(sql, context) == new
    assert Sealed.parse(await sealed(sql, other)).kek_version == 2


async def test_what_does_not_open_is_named_and_stops_nothing(
    store: Store, both: Keyring, sql: asyncpg.Connection
) -> None:
    found = [context for context, _ in (await stored(sql, both, 3)).values()]
    await sql.execute(
        "UPDATE key_versions SET sealed = set_byte(sealed, 20, 255 - get_byte(sealed, 20)) WHERE key_id = $1",
        found[1].key_id,
    )
    outcome = await Rewrap(store, both).run(lambda _: None)
    assert (outcome.rewrapped, [damaged.context for damaged in outcome.damaged]) == (2, [found[1]])
    assert await store.kek_uses() == {1: 1, 2: 2}


async def test_without_the_old_key_nothing_is_rewrapped(store: Store, both: Keyring, sql: asyncpg.Connection) -> None:
    await stored(sql, both, 3)
    new_alone = Keyring(store, both._sources[:1])
    with pytest.raises(KekMissing, match="version 1"):
        await Rewrap(store, new_alone).run(lambda _: None)
    assert await store.kek_uses() == {1: 3}


async def test_to_a_transit_server_and_the_old_master_key_can_go(
    store: Store, keyring: Keyring, master: QuickMasterKey, sql: asyncpg.Connection, token_file: Path
) -> None:
    found = await stored(sql, keyring, BATCH + 1)
    with transit_server(read(token_file)) as server:
        transit = Transit(server.url, "transit", "tallyrun", token_file)
        await add(store, transit)
        mixed = Keyring(store, [master, transit])
        await promote(store, mixed, 2)
        assert (await Rewrap(store, mixed).run(lambda _: None)).rewrapped == BATCH + 1
        await retire(store, 1)
        alone = Keyring(store, [transit])
        await unlock(alone, store, [transit])
        for context, secret in found.values():
            assert (await alone.open(context, await sealed(sql, context))).get_secret_value() == secret
        await transit.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"token-{secrets.token_hex()}")
    return tmp_path / "token"


def read(file: Path) -> str:
    return file.read_text()


# Killed, under load


@pytest.mark.parametrize(("many", "kills"), [(1_000, 2), pytest.param(20_000, 10, marks=pytest.mark.soak)])
@pytest.mark.timeout(1800)
async def test_killed_again_and_again_it_ends_and_no_lease_fails(
    many: int,
    kills: int,
    settings: VaultSettings,
    store: Store,
    sql: asyncpg.Connection,
    gateway_signer: Signer,
    runner_signer: Signer,
) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    old, new = drawn(), drawn()
    masters = MasterKey(new.encode()), MasterKey(old.encode())
    await unlock(Keyring(store, masters[1:]), store, masters[1:])
    keyring = Keyring(store, masters)
    found = await stored(sql, keyring, many)
    await add(store, masters[0])

    rotated = settings.model_copy(
        update={
            "api_key_encryption_key_file": None,
            "api_key_encryption_key": SecretStr(new),
            "api_key_encryption_key_previous": SecretStr(old),
        }
    )
    environment = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "API_KEY_ENCRYPTION_KEY": new,
        "API_KEY_ENCRYPTION_KEY_PREVIOUS": old,
    }
    async with replicas(rotated, 2) as served:
        load = Load(served, found, chance, gateway_signer, runner_signer)
        async with load.running():
            await promote(store, keyring, 2)
            left = [await uses(store, 1)]
            for kill in range(kills):
                await killed(sql, environment, chance, share=2 / (kills - kill + 1))
                left.append(await uses(store, 1))
            said, _ = await asyncio.gather(ended(environment), load.rotate(ROTATIONS))
        assert await store.kek_uses() == {2: many + 1}  # and the audit key
        await retire(store, 1)
    print(f"seed {seed}: {many} secrets, left after each of {kills} kills {left}; {said}")
    print(f"{load.reads} leases and {load.rotations} rotations meanwhile, {len(load.failures)} failed")
    assert load.failures == []
    assert left[0] == many + 1
    assert sorted(left, reverse=True) == left

    alone = rotated.model_copy(update={"api_key_encryption_key_previous": None})
    async with replicas(alone, 1) as served:
        after = Load(served, found, chance, gateway_signer, runner_signer)
        await after.read(100)
        assert after.failures == []
    await all_open(Keyring(store, masters[:1]), sql, found)
    with pytest.raises(MasterKeyRefused):
        async with replicas(alone.model_copy(update={"api_key_encryption_key": SecretStr(old)}), 1):
            pass


async def all_open(keyring: Keyring, sql: asyncpg.Connection, found: Secrets) -> None:
    """Open each workspace's active version, and compare."""
    active = "SELECT * FROM keys JOIN key_versions v ON v.key_id = id AND v.version = active_version"
    for row in await sql.fetch(active):
        context = Context(row["workspace_id"], row["provider"], row["key_id"], row["version"])
        opened = await keyring.open(context, row["sealed"])
        assert opened.get_secret_value() == found.pop(context.workspace_id)[1]
    assert found == {}


def drawn() -> str:
    return base64.b64encode(os.urandom(32)).decode()


async def uses(store: Store, version: int) -> int:
    return (await store.kek_uses()).get(version, 0)


async def rewrapping(environment: dict[str, str]) -> Process:
    command = [sys.executable, "-m", "vault", "rewrap"]
    return await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)


async def killed(sql: asyncpg.Connection, environment: dict[str, str], chance: random.Random, share: float) -> None:
    """Start `vault rewrap`, and kill it in the middle of a batch: the one with a row that we hold.

    The row is one of the first so many of what is left, so that the kills are spread over all of it.
    """
    places = await sql.fetch("SELECT key_id FROM key_versions WHERE kek_version = 1 ORDER BY key_id")
    async with sql.transaction():
        held = places[chance.randrange(math.ceil(len(places) * share))]["key_id"]
        await sql.execute("SELECT 1 FROM key_versions WHERE key_id = $1 FOR UPDATE", held)
        process = await rewrapping(environment)
        async with asyncio.timeout(300):
            while not await sql.fetchval(WAITING):
                assert process.returncode is None
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await process.communicate()


async def ended(environment: dict[str, str]) -> str:
    """Let `vault rewrap` run to its end; return what it said last."""
    process = await rewrapping(environment)
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return " ".join(said.decode().splitlines()[-2:])


@asynccontextmanager
async def replicas(settings: VaultSettings, many: int) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """Run so many vaults in this process; return a client of each."""
    async with AsyncExitStack() as closing:
        clients = []
        for _ in range(many):
            app = create_app(settings)
            await closing.enter_async_context(app.router.lifespan_context(app))
            client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://vault")
            clients.append(await closing.enter_async_context(client))
        yield clients


class Load:
    """Leases of random workspaces from random replicas, and rotations of provider keys; each lease is compared."""

    def __init__(
        self, served: list[httpx2.AsyncClient], found: Secrets, chance: random.Random, gateway: Signer, runner: Signer
    ) -> None:
        self._served = served
        self._found = found
        self._workspaces = list(found)
        self._chance = chance
        self._gateway = gateway
        self._runner = runner
        self.reads = self.rotations = 0
        self.failures: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read without a pause, until the end of the block."""
        tasks = [asyncio.create_task(self._forever()) for _ in range(CALLERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(error, asyncio.CancelledError) for error in ended), ended

    async def _forever(self) -> None:
        while True:
            await self._read(self._chance.choice(self._workspaces))

    async def read(self, many: int) -> None:
        """Read the secrets of so many workspaces."""
        for workspace in self._chance.sample(self._workspaces, many):
            await self._read(workspace)

    async def _read(self, workspace: UUID) -> None:
        expected = self._found[workspace][1]
        grant = self._gateway.grant(workspace, ("openai",), int(time.time()) + 600)
        body = {"grant": grant, "provider": "openai", "operation": "chat"}
        answer = await self._call(self._runner, "/leases", body)
        self.reads += 1
        if answer.json().get("secret") not in (expected, self._found[workspace][1]):  # it may be rotated meanwhile
            self.failures.append(f"{answer.status_code}: {answer.text}")

    async def rotate(self, times: int) -> None:
        """Give so many workspaces a new secret."""
        for workspace in self._chance.sample(self._workspaces, times):
            context, secret = self._found[workspace][0], f"key-{secrets.token_hex()}"
            body = {"provider": "openai", "secret": secret, "actor": "ann"}
            saved = await self._call(self._gateway, f"/workspaces/{workspace}/keys", body)
            activate = f"/workspaces/{workspace}/keys/{context.key_id}/versions/{saved.json()['version']}/activate"
            self._found[workspace] = context, secret
            (await self._call(self._gateway, activate, {"verified": True, "actor": "ann"})).raise_for_status()
            self.rotations += 1

    async def _call(self, signer: Signer, path: str, body: Mapping[str, object]) -> httpx2.Response:
        headers = {"authorization": f"Bearer {signer.service_token('vault')}"}
        return await self._chance.choice(self._served).post(path, json=body, headers=headers)
