"""A gateway as it runs, with its neighbours played: real HTTP servers for vault and analytics, a consumer as runner."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from common.admission import Admission, Admitted, Rejected
from common.contracts.event import INSTANCE_HEADER
from common.contracts.runs_v1 import Cost, RunCompleted, RunDelta, RunRequested, Usage
from common.contracts.topics import REPLIES, REQUESTED
from common.errors import NotFound, TallyrunError
from common.identity import Verifier
from common.ids import now_ms
from common.kafka import Publisher, partition_news
from gateway.app import create_app
from gateway.settings import GatewaySettings

Body = dict[str, Any]
PROMPT: Body = {"provider": "openai", "model": "gpt-4o", "input": "Say hello."}


def completed(request: RunRequested, **fields: Any) -> RunCompleted:
    """How a run ends: well, unless told otherwise."""
    copied = request.model_dump(include=set(RunCompleted.model_fields) & set(RunRequested.model_fields))
    ended: Body = {
        "execution_id": uuid4(),
        "completed_at": now_ms(),
        "status": "succeeded",
        "output": "Hello.",
        "finish_reason": "stop",
        "usage": Usage(input=10, output=5),
        "cost": Cost(priced=True, total=Decimal("0.000123456789012345")),
        "latency_ms": 12,
    }
    return RunCompleted(**{**copied, **ended, **fields})


Script = Callable[[RunRequested], RunCompleted | None]
Telling = Callable[[RunRequested], list[RunDelta]]


@dataclass
class PlayedRunner:
    """Judges every request as a runner does, tells of it as `telling` says, replies as `script` does (None: never)."""

    admission: Admission
    publisher: Publisher
    script: Script = completed
    telling: Telling = lambda _: []
    admitted: list[Admitted] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def requests(self) -> list[RunRequested]:
        return [admitted.request for admitted in self.admitted]

    async def read(self, consumer: Any) -> None:
        async for record in consumer:
            verdict = self.admission.judge(record.value, record.headers, record.timestamp)
            if isinstance(verdict, Admitted):
                assert record.key == verdict.request.run_id.bytes
                self.admitted.append(verdict)
                await self.reply(verdict.request)
            elif isinstance(verdict, Rejected):
                self.rejected.append(verdict)

    async def reply(self, request: RunRequested) -> None:
        end = self.script(request)
        if request.reply_to is not None:
            for event in [*self.telling(request), *([end] if end is not None else [])]:
                await self.send(request, event.encode(), [*event.headers(), _instance(request.reply_to.instance)])

    async def send(self, request: RunRequested, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        assert request.reply_to is not None
        await self.publisher.send(REPLIES.name, value, headers=headers, partition=request.reply_to.partition)


def _instance(name: str) -> tuple[str, bytes]:
    return INSTANCE_HEADER, name.encode()


class Played:
    """A service of ours, over HTTP; checks that the gateway is who calls."""

    def __init__(self, verifier: Verifier, audience: str) -> None:
        self.away = False
        self.calls: list[tuple[str, str, Body]] = []
        self._verifier = verifier
        self._audience = audience

    async def handle(self, request: web.Request) -> web.Response:
        token = request.headers["authorization"].removeprefix("Bearer ")
        assert self._verifier.service(token, self._audience) == "gateway"
        content = await request.read()
        self.calls.append((request.method, request.path, json.loads(content) if content else _query(request)))
        if self.away:
            return web.json_response({"success": False, "error": "away", "code": "unavailable"}, status=503)
        try:
            return self.answer(request.method, request.path.split("/")[1:], self.calls[-1][2])
        except TallyrunError as error:
            return web.json_response(error.body(), status=error.status)

    def answer(self, method: str, path: list[str], body: Body) -> web.Response:
        raise NotImplementedError


def _query(request: web.Request) -> Body:
    """Return the query parameters; those that came several times as lists."""
    names = dict.fromkeys(request.query)
    of_name = {name: request.query.getall(name) for name in names}
    return {name: values[0] if len(values) == 1 else values for name, values in of_name.items()}


class PlayedVault(Played):
    """Keeps keys in memory: `secrets` by key id, `keys` as they are listed."""

    def __init__(self, verifier: Verifier) -> None:
        super().__init__(verifier, "vault")
        self.secrets: dict[str, str] = {}
        self.keys: dict[str, Body] = {}
        self.erased: list[str] = []
        self.revoked: list[str] = []

    def answer(self, method: str, path: list[str], body: Body) -> web.Response:
        key_id = path[3] if len(path) > 3 else ""
        if path[2] == "grants":
            self.revoked.append(key_id)
            return web.Response(status=204)
        match method, path[4:]:
            case "GET", []:
                return self._listed(key_id) if key_id else web.json_response(list(self.keys.values()))
            case "POST", []:
                return self._save(body)
            case "POST", ["versions", "1", "activate"]:
                self.keys[key_id].update(is_active=True, verified=body["verified"])
                return web.json_response(self.keys[key_id])
            case "DELETE", ["versions", "1"]:
                self.erased.append(key_id)
                del self.keys[key_id]
                return web.Response(status=204)
        if key_id not in self.keys:
            raise NotFound(f"no such key: {key_id}")
        self.keys[key_id]["is_active"] = False
        return web.Response(status=204)

    def _listed(self, key_id: str) -> web.Response:
        if key_id not in self.keys:
            raise NotFound(f"no such key: {key_id}")
        version = {name: self.keys[key_id][name] for name in ("version", "preview", "verified", "created_at")}
        times = {"activated_at": 1_700_000_001_000, "retired_at": None, "expires_at": self.keys[key_id]["expires_at"]}
        return web.json_response({"key": self.keys[key_id], "versions": [{**version, **times, "state": "active"}]})

    def _save(self, body: Body) -> web.Response:
        key_id = str(uuid4())
        self.secrets[key_id] = body["secret"]
        self.keys[key_id] = {
            "id": key_id, "provider": body["provider"], "name": body["name"], "preview": body["secret"][-4:],
            "version": 1, "is_active": False, "verified": False, "created_at": 1_700_000_000_123,
            "expires_at": body["expires_at"], "state": "active",
        }  # fmt: skip
        return web.json_response({"key_id": key_id, "version": 1}, status=201)


class PlayedAnalytics(Played):
    """Answers by the last parts of the path, byte for byte; 404 for what it was not given."""

    def __init__(self, verifier: Verifier) -> None:
        super().__init__(verifier, "analytics")
        self.answers: dict[str, bytes] = {}

    def answer(self, method: str, path: list[str], body: Body) -> web.Response:
        content = self.answers.get("/".join(path[2:]))
        if content is None:
            raise NotFound("no such run")
        return web.Response(body=content, content_type="application/json")


@dataclass
class Gateway:
    """A running gateway: `http` calls it as the operator, `calling` as anybody."""

    http: httpx2.AsyncClient

    def calling(self, token: str) -> dict[str, str]:
        return {"authorization": f"Bearer {token}"}

    async def token(self, role: str, **fields: Any) -> str:
        """Issue a token, and return it."""
        answer = await self.http.post("/api/tokens", json={"name": f"a {role}", "role": role, **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["data"]["token"])

    async def run(self, headers: dict[str, str] | None = None, **fields: Any) -> httpx2.Response:
        return await self.http.post("/api/integrations/run", json={**PROMPT, **fields}, headers=headers)


def error_of(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and code of an error in the one shape."""
    body = answer.json()
    assert body["success"] is False, body
    assert isinstance(body["error"], str)
    return answer.status_code, body["code"]


@pytest.fixture
async def vault(verifier: Verifier) -> AsyncIterator[PlayedVault]:
    played = PlayedVault(verifier)
    async with _served(played) as played.url:  # type: ignore[attr-defined] # read by `settings` alone
        yield played


@pytest.fixture
async def analytics(verifier: Verifier) -> AsyncIterator[PlayedAnalytics]:
    played = PlayedAnalytics(verifier)
    async with _served(played) as played.url:  # type: ignore[attr-defined] # read by `settings` alone
        yield played


@asynccontextmanager
async def _served(played: Played) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", played.handle)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


RunnerFor = Callable[[str], AbstractAsyncContextManager[PlayedRunner]]


@pytest.fixture
def runner_on(verifier: Verifier) -> RunnerFor:
    """Start a played runner on the broker of this address."""

    @asynccontextmanager
    async def start(bootstrap: str) -> AsyncIterator[PlayedRunner]:
        publisher = Publisher(bootstrap)
        await publisher.start()
        played = PlayedRunner(Admission(verifier), publisher)
        async with partition_news(bootstrap, REQUESTED.name, range(REQUESTED.partitions)) as consumer:
            reading = asyncio.create_task(played.read(consumer))
            yield played
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        await publisher.close()

    return start


@pytest.fixture
async def runner(kafka: str, runner_on: RunnerFor) -> AsyncIterator[PlayedRunner]:
    async with runner_on(kafka) as played:
        yield played
        assert played.rejected == []


SettingsFor = Callable[..., GatewaySettings]


@pytest.fixture
def settings_for(
    tmp_path: Path, database: str, identity_dir: Path, vault: PlayedVault, analytics: PlayedAnalytics
) -> SettingsFor:
    """Return the settings of a gateway; arguments replace single ones."""
    token_file, providers_file = tmp_path / "admin-token", tmp_path / "providers.json"
    token_file.write_text(secrets.token_hex(32) + "\n")
    providers_file.write_text(json.dumps([{"name": "local", "wire": "openai", "base_url": "http://127.0.0.1:9/v1"}]))
    values = {
        "kafka_replication": 1,
        "database_url": database,
        "identity_dir": identity_dir,
        "admin_token_file": token_file,
        "providers_file": providers_file,
        "files_url": str(tmp_path / "files"),
        "vault_url": vault.url,  # type: ignore[attr-defined] # see `vault`
        "analytics_url": analytics.url,  # type: ignore[attr-defined] # see `analytics`
    }
    return lambda **changed: GatewaySettings(**{**values, **changed})


@asynccontextmanager
async def running(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """Run a gateway, and call it as the operator."""
    app = create_app(settings)
    operator = {"authorization": f"Bearer {settings.admin_token_file.read_text().strip()}"}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="http://gateway", headers=operator, timeout=60
        ) as http,
    ):
        yield Gateway(http)


@pytest.fixture
async def gateway(kafka: str, settings_for: SettingsFor) -> AsyncIterator[Gateway]:
    async with running(settings_for(kafka_bootstrap_servers=kafka)) as gateway:
        yield gateway


@pytest.fixture
async def sql(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the gateway's, to look into its tables."""
    connection = await asyncpg.connect(database.replace("+asyncpg", ""))
    yield connection
    await connection.close()


@pytest.fixture
async def workspace_id(gateway: Gateway) -> UUID:
    """The operator's own workspace."""
    answer = await gateway.http.get("/api/workspaces")
    return UUID(answer.json()["data"][0]["id"])
