"""Analytics on real engines: the whole service, and its parts on the database alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from decimal import Decimal
from itertools import count as count_from
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from pydantic import SecretStr
from tests.support.analytics import Replicas
from tests.support.clickhouse import running_server

from analytics.app import create_app
from analytics.clickhouse import ClickHouse
from analytics.ingest import Ingest, Refused
from analytics.sealer import Sealer
from analytics.settings import Settings
from analytics.watermark import Watermark
from common.admission import Admission
from common.contracts.event import GRANT_HEADER, Event
from common.contracts.runs_v1 import Cost, RunCompleted, RunRequested, Usage
from common.contracts.topics import COMPLETED, REQUESTED
from common.engines.ports import free_port
from common.identity import Signer, Verifier
from common.ids import new_id, now_ms
from common.kafka import Publisher, Record

Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]
AsRecord = Callable[..., Record]
Publish = Callable[[list[RunCompleted]], Awaitable[None]]
Start = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def workspace() -> UUID:
    return new_id()


@pytest.fixture
def completed(workspace: UUID) -> Make:
    """Make a completion of the test's workspace: succeeded, of now, 10 + 5 tokens, a thousandth of a dollar."""

    def completed(**fields: Any) -> RunCompleted:
        at = fields.get("accepted_at", now_ms())
        usual: dict[str, Any] = {
            "run_id": new_id(),
            "execution_id": new_id(),
            "workspace_id": workspace,
            "operation": "chat",
            "provider": "openai",
            "model": "gpt-4o-mini",
            "accepted_at": at,
            "completed_at": at + 900,
            "status": "succeeded",
            "output": "four",
            "usage": Usage(input=10, output=5),
            "cost": Cost(priced=True, total=Decimal("0.001"), catalogue="test"),
            "latency_ms": 800,
        }
        return RunCompleted(**usual | fields)

    return completed


@pytest.fixture
def requested(workspace: UUID) -> Request:
    """Make a request of the test's workspace."""

    def requested(**fields: Any) -> RunRequested:
        at = fields.get("accepted_at", now_ms())
        usual: dict[str, Any] = {
            "run_id": new_id(),
            "workspace_id": workspace,
            "operation": "chat",
            "provider": "openai",
            "model": "gpt-4o-mini",
            "body": {"messages": [{"role": "user", "content": "a secret question"}]},
            "deadline": at + 60_000,
            "publish_by": at + 10_000,
            "accepted_at": at,
        }
        return RunRequested(**usual | fields)

    return requested


@pytest.fixture
def grant(gateway_signer: Signer, workspace: UUID) -> tuple[str, bytes]:
    """The header of a grant for the test's workspace."""
    token = gateway_signer.grant(workspace, ("openai", "anthropic"), int(time.time()) + 600)
    return GRANT_HEADER, token.encode()


@pytest.fixture
def as_record(grant: tuple[str, bytes]) -> AsRecord:
    """Make of an event the record that Kafka would deliver: each at the next offset."""
    offsets = count_from(0)

    def as_record(event: Event, topic: str = COMPLETED.name, value: bytes | None = None) -> Record:
        value = event.encode() if value is None else value
        headers = (*event.headers(), grant)
        return ConsumerRecord(topic, 0, next(offsets), now_ms(), 1, None, value, None, 0, len(value), headers)

    return as_record


@pytest.fixture
def clickhouse(request: pytest.FixtureRequest, clickhouse: tuple[str, str]) -> tuple[str, str]:
    """The DSN and the database of this test's own: in this process, or over HTTP where `--clickhouse` says so."""
    where: str = request.config.getoption("--clickhouse")
    if where == "chdb":
        return clickhouse
    return request.getfixturevalue("_server") if where == "http" else where, clickhouse[1]


@pytest.fixture
async def database(clickhouse: tuple[str, str]) -> AsyncIterator[ClickHouse]:
    """A fresh database of the real engine, migrated."""
    database = ClickHouse(*clickhouse)
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
def ingest(database: ClickHouse, verifier: Verifier) -> Ingest:
    return Ingest(database, Admission(verifier))


@pytest.fixture
def sealer(database: ClickHouse) -> Sealer:
    return Sealer(database, lambda: True)


@pytest.fixture
def count(ingest: Ingest, sealer: Sealer, as_record: AsRecord) -> Store:
    """Store completions, as the consumer would, and seal; answer what was refused."""

    async def count(runs: Iterable[Event]) -> list[Refused]:
        refused = await ingest.store([as_record(run) for run in runs])
        while await sealer.seal():
            pass
        return refused

    return count


@pytest.fixture
def start(clickhouse: tuple[str, str], kafka: str, identity_dir: Path, gateway_signer: Signer) -> Start:
    """Run the whole service under this consumer group, on the test's own database; yield the gateway's client."""
    own, name = clickhouse

    @asynccontextmanager
    async def start(group: str, dsn: str = own) -> AsyncIterator[httpx2.AsyncClient]:
        app = create_app(
            Settings(
                kafka_bootstrap_servers=kafka,
                kafka_replication=1,
                identity_dir=identity_dir,
                clickhouse_dsn=SecretStr(dsn),
                clickhouse_database=name,
                consumer_group=group,
            )
        )
        headers = {"authorization": f"Bearer {gateway_signer.service_token('analytics')}"}
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://a", headers=headers) as client,
        ):
            yield client

    return start


@pytest.fixture
def group() -> str:
    """A consumer group of the test's own: topics are shared by the whole run, and read from their beginning."""
    return f"analytics-{new_id()}"


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("server"), free_port()) as server:
        yield server.url


@pytest.fixture
async def remote(_server: str) -> AsyncIterator[ClickHouse]:
    """A fresh database of an engine in another process, reached over HTTP."""
    database = ClickHouse(_server, f"test_{new_id().hex}")
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
def replicas(kafka: str, identity_dir: Path, remote: ClickHouse, group: str) -> Iterator[Replicas]:
    """Starts processes of analytics that share the remote database and this consumer group."""
    replicas = Replicas(
        {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA_REPLICATION": "1",
            "IDENTITY_DIR": str(identity_dir),
            "CLICKHOUSE_DSN": remote._dsn,
            "CLICKHOUSE_DATABASE": remote._database,
            "CONSUMER_GROUP": group,
            "LOG_LEVEL": "CRITICAL",
        }
    )
    yield replicas
    replicas.stop()


@pytest.fixture
async def watermark(kafka: str, group: str) -> AsyncIterator[Watermark]:
    watermark = Watermark(kafka, group)
    await watermark.start()
    yield watermark
    await watermark.close()


@pytest.fixture
def publish(publisher: Publisher, requested: Request, grant: tuple[str, bytes]) -> Publish:
    """Publish these, one request, and one completion that the engine refuses."""

    async def publish(events: list[RunCompleted]) -> None:
        request = requested()
        poison = events[0].encode().replace(b'"status"', b'"status":"triumphant","state"')
        await asyncio.gather(
            publisher.deliver(REQUESTED.name, request.encode(), headers=[*request.headers(), grant]),
            publisher.deliver(COMPLETED.name, poison, headers=events[0].headers()),
            *(
                publisher.deliver(COMPLETED.name, event.encode(), key=event.run_id.bytes, headers=event.headers())
                for event in events
            ),
        )

    return publish


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    yield admin
    await admin.close()
