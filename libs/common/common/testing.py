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

from common.engines.kafka import kafka_command
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
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(kafka_command(home, port, free_port()), stdout=log, stderr=log)  # noqa: S603 - ours
    try:
        _wait_for(port, process)
        yield Broker(f"127.0.0.1:{port}", process)
    finally:
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
