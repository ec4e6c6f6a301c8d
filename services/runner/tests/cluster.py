"""What a test of the runner needs: a broker, a vault, a provider; runners in this process, or in ones of their own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

from aiohttp import ClientError, ClientSession, web
from aiokafka import AIOKafkaConsumer, TopicPartition
from fastapi import FastAPI

from common.contracts.credentials_v1 import Lease, LeaseRequest
from common.contracts.event import GRANT_HEADER, TYPE_HEADER
from common.contracts.runs_v1 import RunCompleted, RunRequested, RunStarted
from common.contracts.topics import COMPLETED, REQUESTED
from common.engines.ports import free_port
from common.identity import Signer, Verifier
from common.ids import new_id, now_ms
from common.kafka import FETCH_LIMITS, Publisher, Record
from common.providers import ProviderSettings
from embedded.simulator import Running, running
from runner.app import create_app
from runner.settings import RunnerSettings

SESSION_SECONDS = 6
"""The shortest that a broker allows by default."""

CALL_SECONDS = 20

KEY = uuid4()


class Vault:
    """A vault on loopback that opens one key, and counts how often."""

    def __init__(self, verifier: Verifier) -> None:
        self.verifier = verifier
        self.leases = 0
        self.revision = 1

    async def lease(self, request: web.Request) -> web.Response:
        assert self.verifier.service(request.headers["authorization"].removeprefix("Bearer "), "vault") == "runner"
        LeaseRequest.model_validate_json(await request.read())
        self.leases += 1
        lease = Lease(secret="works", key_id=KEY, version=1, revision=self.revision, ttl_ms=60_000)
        return web.json_response(text=lease.model_dump_json())


class RunnerProcess:
    """A runner in a process of its own, that a test may signal."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._url = f"http://127.0.0.1:{environment['RUNNER_PORT']}/health/ready"
        self._process = subprocess.Popen([sys.executable, "-m", "runner"], env={**os.environ, **environment})

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ready(self) -> None:
        """Return once it says that it is ready."""
        async with asyncio.timeout(30), ClientSession() as http:
            while not await self._answers(http):
                await asyncio.sleep(0.1)

    async def _answers(self, http: ClientSession) -> bool:
        try:
            async with http.get(self._url) as answer:
                return answer.status == 200
        except ClientError:
            return False

    async def ended(self) -> int:
        """Return the exit code."""
        return await asyncio.to_thread(self._process.wait)


class Cluster:
    """What a test of the runner needs: a broker, a vault, a provider, and the means to publish and to look."""

    def __init__(self, bootstrap: str, identity_dir: Path, simulator: Running, vault: Vault, vault_url: str) -> None:
        self.bootstrap = bootstrap
        self.identity_dir = identity_dir
        self.simulator = simulator
        self.vault = vault
        self.vault_url = vault_url
        self.workspace = uuid4()
        self.grant = self.granted(self.workspace)
        self.publisher = Publisher(self.bootstrap)
        self.group = f"runner-{uuid4()}"
        self.call_seconds = CALL_SECONDS
        self.slots = 1000

    @asynccontextmanager
    async def runner(self, group: str | None = None, drain_seconds: float = 10) -> AsyncIterator[FastAPI]:
        settings = RunnerSettings.model_validate(self._settings(group or self.group, drain_seconds))
        providers = ProviderSettings.model_validate(self._urls())
        app = create_app(settings, providers)
        async with app.router.lifespan_context(app):
            yield app

    @asynccontextmanager
    async def runner_processes(self) -> AsyncIterator[list[RunnerProcess]]:
        """A list to which `start_runner` adds; whatever is still there at the end is killed."""
        self.processes: list[RunnerProcess] = []
        try:
            yield self.processes
        finally:
            for process in self.processes:
                process.send(signal.SIGKILL)
                await process.ended()

    async def start_runner(self) -> RunnerProcess:
        """Start a runner in a process of its own, with time to end its calls; return once it is ready."""
        settings = {**self._settings(self.group, drain_seconds=30), **self._urls(), "runner_port": free_port()}
        process = RunnerProcess({name.upper(): str(value) for name, value in settings.items()})
        self.processes.append(process)
        await process.ready()
        return process

    def _settings(self, group: str, drain_seconds: float) -> dict[str, object]:
        return {
            "kafka_bootstrap_servers": self.bootstrap,
            "kafka_replication": 1,
            "session_seconds": SESSION_SECONDS,
            "identity_dir": self.identity_dir,
            "vault_url": self.vault_url,
            "runner_group": group,
            "call_seconds": self.call_seconds,
            "runner_slots": self.slots,
            "drain_seconds": drain_seconds,
            "log_level": "WARNING",
        }

    def _urls(self) -> dict[str, str]:
        return {
            "openai_base_url": self.simulator.openai_base_url,
            "anthropic_base_url": self.simulator.anthropic_base_url,
        }

    async def publish(
        self, prompt: str, *, topic: str = REQUESTED.name, partition: int | None = None, **changes: object
    ) -> RunRequested:
        now = now_ms()
        fields: dict[str, object] = {
            "run_id": new_id(), "workspace_id": self.workspace, "operation": "chat", "provider": "openai",
            "model": "gpt-4o-mini", "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}]},
            "deadline": now + 60_000, "publish_by": now + 60_000, "accepted_at": now,
        }  # fmt: skip
        request = RunRequested.model_validate({**fields, **changes})
        grant = self.grant if request.workspace_id == self.workspace else self.granted(request.workspace_id)
        await self.send_as(grant, topic, request.encode(), request.run_id, partition)
        return request

    async def send(self, topic: str, value: bytes, run_id: UUID, partition: int | None = None) -> None:
        await self.send_as(self.grant, topic, value, run_id, partition)

    async def send_as(self, grant: str, topic: str, value: bytes, run_id: UUID, partition: int | None = None) -> None:
        headers = [(GRANT_HEADER, grant.encode())]
        await self.publisher.send(topic, value, key=run_id.bytes, headers=headers, partition=partition)

    def granted(self, workspace: UUID) -> str:
        """Return a grant for another workspace."""
        return Signer.load("gateway", self.identity_dir).grant(workspace, ("openai",), 2**31)

    async def completed(self, *runs: RunRequested, seconds: float = 30) -> dict[UUID, RunCompleted]:
        """Wait until each of the runs has ended; every one exactly once."""
        records = await self.records(COMPLETED.name, {run.run_id for run in runs}, seconds)
        counts = Counter(UUID(bytes=record.key or b"") for record in records)
        assert set(counts.values()) <= {1}
        return {c.run_id: c for c in (RunCompleted.model_validate_json(r.value or b"") for r in records)}

    async def records(self, topic: str, run_ids: set[UUID], seconds: float = 30) -> list[Record]:
        """Read a topic from its beginning until every one of the run ids was seen."""
        found: list[Record] = []
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", **FETCH_LIMITS
        )
        await consumer.start()
        try:
            async with asyncio.timeout(seconds):
                missing = set(run_ids)
                while missing:
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        ours = [r for r in batch if r.key and UUID(bytes=r.key) in run_ids and not _started(r)]
                        missing -= {UUID(bytes=record.key or b"") for record in ours}
                        found += ours
        finally:
            await consumer.stop()
        return found

    async def lag(self) -> int:
        """How many records of the requested topic the group has not committed."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(REQUESTED.name, number) for number in range(REQUESTED.partitions)]
            ends = await consumer.end_offsets(partitions)
            return sum([ends[tp] - (await consumer.committed(tp) or 0) for tp in partitions])
        finally:
            await consumer.stop()

    async def until_committed(self) -> None:
        """Wait until the group has committed everything."""
        async with asyncio.timeout(20):
            while await self.lag():
                await asyncio.sleep(0.1)

    async def until_called(self, prompt: str) -> None:
        """Wait until a call with this prompt is in flight at the provider."""
        async with asyncio.timeout(30):
            while self.simulator.calls()["in_flight"] == 0:
                await asyncio.sleep(0.01)


def _started(record: Record) -> bool:
    return dict(record.headers).get(TYPE_HEADER) == RunStarted.TYPE.encode()


@asynccontextmanager
async def cluster_on(bootstrap: str, identity_dir: Path, verifier: Verifier) -> AsyncIterator[Cluster]:
    """Serve a vault and a provider beside a broker of the test's own."""
    vault = Vault(verifier)
    app = web.Application()
    app.router.add_post("/leases", vault.lease)
    served = web.AppRunner(app)
    await served.setup()
    port = free_port()
    await web.TCPSite(served, "127.0.0.1", port).start()
    async with running() as simulator:
        cluster = Cluster(bootstrap, identity_dir, simulator, vault, f"http://127.0.0.1:{port}")
        await cluster.publisher.start()
        yield cluster
        await cluster.publisher.close()
    await served.cleanup()
