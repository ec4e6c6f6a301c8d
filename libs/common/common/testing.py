"""Pytest fixtures: real Kafka, Postgres and the ClickHouse engine, started once and shared by the whole run.

Loaded by the root conftest. Each test gets a database and a topic namespace of its own where it needs one.
"""

import asyncio
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from common.engines.kafka import Node, kafka_command, kafka_commands
from common.engines.ports import free_port, listening
from common.engines.postgres import Postgres, start_postgres
from common.identity import Signer, Verifier, new_key_pair
from common.kafka import Publisher, declare_topics

SERVICES = ("gateway", "runner", "vault", "analytics")
START_SECONDS = 60


@dataclass(frozen=True)
class Broker:
    """A broker of a test's own, that it may freeze or kill."""

    bootstrap: str
    process: subprocess.Popen[bytes]


@contextmanager
def running_broker(home: Path, port: int) -> Iterator[Broker]:
    """Run a broker on this home and port; started again on the same ones it has kept its data."""
    process = _start(kafka_command(home, port, free_port()), home)
    try:
        _wait_for(port, process)
        yield Broker(f"127.0.0.1:{port}", process)
    finally:
        _end(process)


class ThreeBrokers:
    """A cluster as production has it, of which a test may lose one."""

    def __init__(self, home: Path) -> None:
        self._nodes = [Node(number, home / str(number), free_port(), free_port()) for number in (1, 2, 3)]
        self._commands = kafka_commands(self._nodes)
        self.bootstrap = ",".join(f"127.0.0.1:{node.port}" for node in self._nodes)
        self.processes = [self._start(index) for index in range(3)]
        self._wait()

    def restart(self, index: int) -> None:
        """End a broker and start it again, on the data that it has kept."""
        _end(self.processes[index])
        self.processes[index] = self._start(index)
        self._wait()

    def stop(self) -> None:
        """End them all."""
        for process in self.processes:
            _end(process)

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        return _start(self._commands[index], self._nodes[index].home)

    def _wait(self) -> None:
        for node, process in zip(self._nodes, self.processes, strict=True):
            _wait_for(node.port, process)


def _start(command: list[str], home: Path) -> subprocess.Popen[bytes]:
    with (home / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own command, no shell


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while not listening(port):
        assert process.poll() is None, "the broker ended while it was starting"
        assert time.monotonic() < until, f"the broker does not listen within {START_SECONDS} s"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of a real broker with the declared topics."""
    with running_broker(tmp_path_factory.mktemp("kafka"), free_port()) as broker:
        asyncio.run(declare_topics(broker.bootstrap, replication=1))
        yield broker.bootstrap


@pytest.fixture
async def publisher(kafka: str) -> AsyncIterator[Publisher]:
    """A started publisher."""
    publisher = Publisher(kafka)
    await publisher.start()
    yield publisher
    await publisher.close()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker without topics, that the test may freeze or kill."""
    with running_broker(tmp_path, free_port()) as broker:
        yield broker


@pytest.fixture
def three_brokers(tmp_path: Path) -> Iterator[ThreeBrokers]:
    """A cluster of three brokers with the declared topics, each kept three times, that may lose one."""
    brokers = ThreeBrokers(tmp_path)
    try:
        asyncio.run(_all_known(brokers.bootstrap))
        asyncio.run(declare_topics(brokers.bootstrap, replication=3))
        yield brokers
    finally:
        brokers.stop()


async def _all_known(bootstrap: str) -> None:
    """Return once the cluster lists all three brokers: until then it makes no topic of three copies."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(START_SECONDS):
            while len((await admin.describe_cluster())["brokers"]) < 3:  # noqa: ASYNC110 - another process makes it true
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A real Postgres server."""
    server = start_postgres(tmp_path_factory.mktemp("postgres") / "data")
    yield server
    server.stop()


@pytest.fixture
def database(postgres: Postgres) -> str:
    """The SQLAlchemy URL of a fresh Postgres database."""
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(postgres.create_database(name))
    return postgres.url(name)


@pytest.fixture(scope="session")
def _clickhouse_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # One engine, one path per process.
    return tmp_path_factory.mktemp("clickhouse")


@pytest.fixture
def clickhouse(_clickhouse_path: Path) -> tuple[str, str]:
    """The DSN of the in-process engine, and the name of a database of this test's own (not created yet)."""
    return f"chdb://{_clickhouse_path}", f"test_{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def identity_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a fresh key pair for every service."""
    folder = tmp_path_factory.mktemp("identity")
    for service in SERVICES:
        private, public = new_key_pair()
        (folder / f"{service}.key").write_bytes(private)
        (folder / f"{service}.pub").write_bytes(public)
    return folder


@pytest.fixture(scope="session")
def verifier(identity_dir: Path) -> Verifier:
    """Checks what the fixtures' services sign."""
    return Verifier.load(identity_dir)


@pytest.fixture(scope="session")
def gateway_signer(identity_dir: Path) -> Signer:
    """Signs as the gateway."""
    return Signer.load("gateway", identity_dir)


@pytest.fixture(scope="session")
def runner_signer(identity_dir: Path) -> Signer:
    """Signs as a runner."""
    return Signer.load("runner", identity_dir)
