"""The audit of a running vault: under load, through a kill, published each minute, verified by the command."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import UUID

import aiohttp
import asyncpg
import httpx2
import pytest

from common.contracts.credentials_v1 import KeyView
from common.engines.ports import free_port
from common.identity import Signer
from common.ids import new_id
from common.kafka import Publisher
from vault.command.opened import opened_store
from vault.heads import Heads, to_topic
from vault.settings import VaultSettings
from vault.store.audit import Period
from vault.verify import Fault, Walk

Connect = Callable[..., Awaitable[KeyView]]
NewGrant = Callable[..., str]
Lease = Callable[..., Awaitable[httpx2.Response]]

START_SECONDS = 60


async def verified(settings: VaultSettings) -> tuple[int, list[Fault]]:
    """Return how many rows there are, and what is wrong with them."""
    async with opened_store(settings) as (store, _, key), store.audit_reader() as reader:
        walk = Walk(key, await reader.heads())
        found = [fault async for row in reader.rows(Period()) for fault in walk.row(row)]
        return walk.rows, [*found, *walk.end()]


@pytest.mark.parametrize("leases", [100, pytest.param(5000, marks=pytest.mark.soak)])
async def test_concurrent_leases_leave_chains_that_verify(
    connect: Connect, lease: Lease, new_grant: NewGrant, settings: VaultSettings, sql: asyncpg.Connection, leases: int
) -> None:
    workspaces = [new_id() for _ in range(5)]
    for workspace in workspaces:
        await connect(secrets.token_urlsafe(), to=workspace)
    grants = [new_grant(to=workspace) for workspace in workspaces]
    answers = await asyncio.gather(*(lease(grants[number % 5]) for number in range(leases)))
    assert Counter(answer.status_code for answer in answers) == {200: leases}
    written = await sql.fetch("SELECT chain, count(*) AS rows FROM audit WHERE action = 'lease' GROUP BY chain")
    assert {row["chain"]: row["rows"] for row in written} == dict.fromkeys(workspaces, leases // 5)
    rows, faults = await verified(settings)
    assert (rows, faults) == (leases + 2 * len(workspaces), [])


# A vault of its own, as a process


def environment(settings: VaultSettings, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "VAULT_PORT": str(port),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAFKA_REPLICATION": "1",
        "IDENTITY_DIR": str(settings.identity_dir),
        "API_KEY_ENCRYPTION_KEY_FILE": str(settings.api_key_encryption_key_file),
    }


@contextmanager
def running(settings: VaultSettings, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    with log.open("ab") as file:
        process = subprocess.Popen([sys.executable, "-m", "vault"], env=environment(settings, port), stderr=file)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def calling(url: str, signer: Signer) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": f"Bearer {signer.service_token('vault')}"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        yield session


async def ready(session: aiohttp.ClientSession, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, "the vault ended while it was starting"
        assert time.monotonic() < until, f"the vault is not ready within {START_SECONDS} s"
        try:
            async with session.get("/health/ready") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.05)


async def connected(session: aiohttp.ClientSession, workspace: UUID) -> None:
    body = {"provider": "openai", "secret": secrets.token_urlsafe(), "actor": "ann"}
    async with session.post(f"/workspaces/{workspace}/keys", json=body) as answer:
        saved = await answer.json()
    path = f"/workspaces/{workspace}/keys/{saved['key_id']}/versions/1/activate"
    async with session.post(path, json={"verified": True, "actor": "ann"}) as answer:
        assert answer.status == 200


class Load:
    """Leases without a pause, until the vault is gone; counts those that were given, by workspace."""

    def __init__(self, session: aiohttp.ClientSession, grants: dict[UUID, str]) -> None:
        self._session = session
        self._grants = grants
        self.given: Counter[UUID] = Counter()

    async def run(self, callers: int) -> None:
        await asyncio.gather(
            *(self._caller(list(self._grants)[number % len(self._grants)]) for number in range(callers))
        )

    async def _caller(self, workspace: UUID) -> None:
        body = {"grant": self._grants[workspace], "provider": "openai", "operation": "chat"}
        try:
            while True:
                async with self._session.post("/leases", json=body) as answer:
                    assert answer.status == 200, await answer.text()
                    assert (await answer.json())["secret"]
                self.given[workspace] += 1
        except aiohttp.ClientError:  # it was killed
            return


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.soak)])
async def test_a_vault_that_is_killed_under_load_leaves_chains_that_verify(
    settings: VaultSettings,
    new_grant: NewGrant,
    gateway_signer: Signer,
    runner_signer: Signer,
    sql: asyncpg.Connection,
    tmp_path: Path,
    kills: int,
) -> None:
    given: Counter[UUID] = Counter()
    workspaces = [new_id() for _ in range(3)]
    for kill in range(kills):
        with running(settings, tmp_path / "log") as (process, url):
            async with calling(url, gateway_signer) as gateway, calling(url, runner_signer) as runner:
                await ready(gateway, process)
                if kill == 0:
                    for workspace in workspaces:
                        await connected(gateway, workspace)
                load = Load(runner, {workspace: new_grant(to=workspace) for workspace in workspaces})
                running_load = asyncio.create_task(load.run(callers=12))
                while load.given.total() < 50 and not running_load.done():
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGKILL)
                await running_load
                given += load.given
    written = await sql.fetch("SELECT chain, count(*) AS rows FROM audit WHERE action = 'lease' GROUP BY chain")
    recorded = {row["chain"]: row["rows"] for row in written}
    rows, faults = await verified(settings)
    print(f"{kills} kills, {given.total()} leases given, {sum(recorded.values())} on record, {rows} rows")
    assert faults == []
    assert all(recorded[workspace] >= given[workspace] for workspace in workspaces), "a lease without a row"


async def test_the_command_verifies_against_what_the_running_vault_published(
    connect: Connect, lease: Lease, settings: VaultSettings, sql: asyncpg.Connection, workspace: UUID
) -> None:
    await connect(secrets.token_urlsafe())
    for _ in range(3):
        await lease()
    await published(settings, workspace, 5)
    whole = await command(settings, "audit", "verify", "--workspace", str(workspace))
    assert whole[0] == 0, whole
    assert whole[1] == ""
    await sql.execute("DELETE FROM audit WHERE chain = $1 AND seq = 5", workspace)
    await sql.execute(
        "UPDATE audit_heads h SET (seq, mac, at) = (a.seq, a.mac, a.at) FROM audit a"
        " WHERE a.chain = h.chain AND a.seq = 4 AND a.chain = $1", workspace,
    )  # fmt: skip
    code, out, _ = await command(settings, "audit", "verify", "--workspace", str(workspace))
    assert code == 3
    assert f"workspace {workspace} truncated " in out
    assert "row 5: gone" in out


async def published(settings: VaultSettings, workspace: UUID, seq: int) -> None:
    """Let the vault publish now, not in a minute, and see it in the topic."""
    publisher = Publisher(settings.kafka_bootstrap_servers)
    await publisher.start()
    async with opened_store(settings) as (store, _, _):
        assert (await store.audit_heads())[workspace].seq == seq
        await Heads(store, Signer.load("vault", settings.identity_dir), to_topic(publisher)).publish()
    await publisher.close()


async def command(settings: VaultSettings, *arguments: str) -> tuple[int, str, str]:
    """Run `vault …` as an operator does; return its exit code, and what it printed on which stream."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vault", *arguments, env=environment(settings, 0),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
