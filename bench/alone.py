"""Analytics alone: the service on a broker and a database of its own, asked as the gateway asks it."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import psutil
from tests.stack import until

from common.engines.ports import free_port, listening
from common.identity import Signer, new_key_pair
from common.kafka import declare_topics
from common.testing import SERVICES, running_broker

START_SECONDS = 60
STOP_SECONDS = 30


@dataclass(frozen=True)
class Place:
    """Where everything lies: a broker that runs, keys, and the engine's folder."""

    kafka: str
    identity: Path
    clickhouse: Path

    def signer(self) -> Signer:
        """Return who signs as the gateway."""
        return Signer.load("gateway", self.identity)


@contextmanager
def place() -> Iterator[Place]:
    """Prepare a place, and take it away."""
    with tempfile.TemporaryDirectory(prefix="tallyrun-bench-") as folder:
        home = Path(folder)
        for name in ("kafka", "identity", "clickhouse"):
            (home / name).mkdir()
        for service in SERVICES:
            private, public = new_key_pair()
            (home / "identity" / f"{service}.key").write_bytes(private)
            (home / "identity" / f"{service}.pub").write_bytes(public)
        with running_broker(home / "kafka", free_port()) as broker:
            asyncio.run(declare_topics(broker.bootstrap, replication=1))
            yield Place(broker.bootstrap, home / "identity", home / "clickhouse")


def fill(where: Place, database: str, runs: int) -> None:
    """Make a history, in a process of its own: the engine serves its folder to one."""
    script = [sys.executable, "-m", "bench.history", str(where.clickhouse), database, str(runs)]
    print(subprocess.run(script, capture_output=True, check=True, text=True).stdout.strip(), flush=True)


@dataclass(frozen=True)
class Service:
    """The running service, and who asks it."""

    url: str
    process: psutil.Process
    session: aiohttp.ClientSession

    def asking(self, workspace: UUID, what: str, **asked: Any) -> Callable[[], Awaitable[None]]:
        """Return a call that asks this question."""

        async def ask() -> None:
            await self.answer(workspace, what, **asked)

        return ask

    async def answer(self, workspace: UUID, what: str, **asked: Any) -> Any:
        """Return what a question is answered."""
        async with self.session.get(f"{self.url}/workspaces/{workspace}/{what}", params=asked) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["data"]


@asynccontextmanager
async def service(where: Place, database: str, **environment: str) -> AsyncIterator[Service]:
    """Run the service on this database."""
    port = free_port()
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": where.kafka,
        "KAFKA_REPLICATION": "1",
        "IDENTITY_DIR": str(where.identity),
        "CLICKHOUSE_DSN": f"chdb://{where.clickhouse}",
        "CLICKHOUSE_DATABASE": database,
        "CONSUMER_GROUP": database,
        "ANALYTICS_PORT": str(port),
        "LOG_LEVEL": "WARNING",
        **environment,
    }
    process = psutil.Popen([sys.executable, "-m", "analytics"], env={**_inherited(), **settings})
    headers = {"authorization": f"Bearer {where.signer().service_token('analytics')}"}
    try:
        await asyncio.to_thread(until, lambda: listening(port), "analytics listens", START_SECONDS)
        async with aiohttp.ClientSession(headers=headers) as session:
            yield Service(f"http://127.0.0.1:{port}", process, session)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in psutil.Process().environ().items() if name != "CLICKHOUSE_DSN"}
