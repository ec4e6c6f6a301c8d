"""Batches of a gateway as it runs: the log's bulk topic is read by a played runner, which is analytics as well."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka import TopicPartition
from services.gateway.tests.conftest import Body, Gateway, PlayedAnalytics, PlayedVault, completed

from common.admission import Admission, Admitted, NeverAccepted
from common.contracts.answers_v1 import Answer, Success, TokensUsed
from common.contracts.batch_answers_v1 import BatchAcceptance, BatchAccepted, BatchRow, BatchRows, BatchTotals
from common.contracts.batches_v1 import BatchCancelled
from common.contracts.event import INSTANCE_HEADER
from common.contracts.runs_v1 import RunCompleted, RunError, RunRequested
from common.contracts.topics import BATCHED, BATCHES_CANCELLED, REPLIES
from common.identity import Verifier
from common.ids import now_ms
from common.kafka import Publisher, Record, partition_news

Script = Callable[[RunRequested], RunCompleted | None]
Told = dict[str, Any]

WITHIN = 60


def failed(request: RunRequested, code: str, *, retry_at: int | None = None, **fields: Any) -> RunCompleted:
    """How a run fails."""
    error = RunError(code=code, message=f"it was {code}", retry_at=retry_at)
    return completed(request, status="failed", output=None, response=None, error=error, **fields)


def answered(request: RunRequested) -> RunCompleted:
    """How a run succeeds, with an answer as the provider writes it."""
    said = f"About {request.custom_id}."
    choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    chat = {"id": "x", "object": "chat.completion", "created": 1, "model": request.model, "choices": [choice]}
    usage = {"input_tokens": 10, "output_tokens": 5}
    message: Told = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "stop_reason": "end_turn",
    }
    message |= {"content": [{"type": "text", "text": said}], "usage": usage, "stop_sequence": None}
    return completed(request, output=said, response=json.dumps(chat if request.operation == "chat" else message))


class PlayedLog(PlayedAnalytics):
    """Runner and analytics in one: judges what is appended, ends each run once, and shows what ended.

    A run whose script says None is under way until `end`. Like analytics it tells how far it has read; `behind`, it
    reads nothing.
    """

    def __init__(self, verifier: Verifier) -> None:
        super().__init__(verifier)
        self.script: Script = answered
        self.replies = True
        self.behind = False
        self.under_way: dict[UUID, RunRequested] = {}
        self.requests: list[RunRequested] = []
        self.void: list[Record] = []
        self.ended: list[RunCompleted] = []
        self.cancelled: set[str] = set()
        self.read_up_to = 0
        self._admission = Admission(verifier)
        self._publisher: Publisher | None = None
        self._seen: set[UUID] = set()

    @property
    def repeated(self) -> list[UUID]:
        """Runs whose records were accepted more than once."""
        return [run for run, count in Counter(request.run_id for request in self.requests).items() if count > 1]

    async def read(self, bootstrap: str, reading: asyncio.Event) -> None:
        """Read the bulk topic, and what is cancelled, for ever."""
        self._publisher = Publisher(bootstrap)
        await self._publisher.start()
        try:
            await self._read(bootstrap, reading)
        finally:
            await self._publisher.close()

    async def _read(self, bootstrap: str, reading: asyncio.Event) -> None:
        bulk = [TopicPartition(BATCHED.name, partition) for partition in range(BATCHED.partitions)]
        async with (
            partition_news(bootstrap, BATCHED.name, range(BATCHED.partitions)) as consumer,
            partition_news(bootstrap, BATCHES_CANCELLED.name, [0]) as cancellations,
        ):
            reading.set()
            while True:
                while self.behind:
                    await asyncio.sleep(0.02)
                now = now_ms()
                ends = await consumer.end_offsets(bulk)
                for records in (await cancellations.getmany(timeout_ms=0)).values():
                    self.cancelled |= {BatchCancelled.model_validate_json(r.value or b"").batch_id for r in records}
                for records in (await consumer.getmany(timeout_ms=20)).values():
                    for record in records:
                        await self._take(record)
                if all([await consumer.position(partition) >= end for partition, end in ends.items()]):
                    self.read_up_to = now

    async def _take(self, record: Record) -> None:
        verdict = self._admission.judge(record.value, record.headers, record.timestamp)
        if isinstance(verdict, NeverAccepted):
            self.void.append(record)
            return
        assert isinstance(verdict, Admitted), verdict
        request = verdict.request
        self.requests.append(request)
        if request.run_id not in self._seen:
            self._seen.add(request.run_id)
            self.under_way[request.run_id] = request
            if request.batch_id in self.cancelled:
                await self.end(request, cancelled(request))
            elif (end := self.script(request)) is not None:
                await self.end(request, end)

    async def end(self, request: RunRequested, end: RunCompleted) -> None:
        """Let a run end."""
        self.under_way.pop(request.run_id, None)
        self.ended.append(end)
        if self.replies and request.reply_to is not None and self._publisher is not None:
            summary = end.model_copy(update={"output": None, "response": None})
            addressed = [*end.headers(), (INSTANCE_HEADER, request.reply_to.instance.encode())]
            partition = request.reply_to.partition
            await self._publisher.send(REPLIES.name, summary.encode(), headers=addressed, partition=partition)

    async def end_all(self, script: Script = answered) -> None:
        """Let everything end that is under way."""
        for request in list(self.under_way.values()):
            if (end := script(request)) is not None:
                await self.end(request, end)

    def answer(self, method: str, path: list[str], body: Body) -> web.Response:
        if len(path) < 5 or path[2] != "batches":
            return super().answer(method, path, body)
        batch, asked = path[3], path[4]
        told = {"rows": self._rows, "accepted": self._accepted, "totals": self._totals}[asked](path[1], batch, body)
        return web.Response(body=Success(data=told).encode(), content_type="application/json")

    def _rows(self, workspace: str, batch: str, body: Body) -> Answer:
        ended = [run for run in self.ended if (str(run.workspace_id), run.batch_id) == (workspace, batch)]
        begin = int(body.get("after", 0))
        page = ended[begin : begin + int(body["limit"])]
        rows = [_row(run, texts=body["texts"] == "true") for run in page]
        return BatchRows(rows=rows, next_cursor=str(begin + len(page)), read_up_to=self.read_up_to)

    def _accepted(self, workspace: str, batch: str, body: Body) -> Answer:
        since, until = int(body["since"]), int(body["until"])
        runs = {
            run.run_id: run.custom_id
            for run in self.requests
            if (str(run.workspace_id), run.batch_id) == (workspace, batch) and since <= run.accepted_at < until
        }
        begin = int(body.get("after", 0))
        page = list(runs.items())[begin : begin + 100]
        rows = [BatchAccepted(run_id=run_id, custom_id=custom_id) for run_id, custom_id in page]
        following = str(begin + 100) if begin + 100 < len(runs) else None
        return BatchAcceptance(rows=rows, next_cursor=following, read_up_to=self.read_up_to)

    def _totals(self, workspace: str, batch: str, _: Body) -> Answer:
        ended = [run for run in self.ended if (str(run.workspace_id), run.batch_id) == (workspace, batch)]
        priced = [run.cost.total for run in ended if run.cost.total is not None]
        zeros = dict.fromkeys(("accepted", "runs", "succeeded", "failed", "expired", "cancelled"), 0)
        return BatchTotals(
            **zeros,
            executions=len(ended),
            unpriced=len(ended) - len(priced),
            cost=sum(priced, Decimal(0)),
            input_tokens=0,
            output_tokens=0,
            read_up_to=self.read_up_to,
        )


def cancelled(request: RunRequested) -> RunCompleted:
    """How a run of a cancelled batch ends."""
    error = RunError(code="batch_cancelled", message="its batch was cancelled")
    return completed(request, status="cancelled", output=None, response=None, error=error)


def _row(run: RunCompleted, *, texts: bool) -> BatchRow:
    usage = run.usage.model_dump()
    copied = {name: getattr(run, name) for name in ("run_id", "execution_id", "custom_id", "status", "operation")}
    return BatchRow(
        **copied,
        provider=run.provider,
        model=run.model,
        error_code=run.error and run.error.code,
        error=run.error and run.error.message,
        retry_at=run.error and run.error.retry_at,
        cost=run.cost.total,
        priced=run.cost.priced,
        usage=TokensUsed(**usage, total=run.usage.input + run.usage.output),
        served_model=run.served_model,
        finish_reason=run.finish_reason,
        truncated=run.truncated,
        latency=run.latency_ms,
        completed_at=run.completed_at,
        output=run.output if texts else None,
        response=run.response if texts else None,
    )


@pytest.fixture
async def analytics(verifier: Verifier, kafka: str) -> AsyncIterator[PlayedLog]:
    """Takes the place of the other tests' analytics."""
    played, app = PlayedLog(verifier), web.Application()
    app.router.add_route("*", "/{path:.*}", played.handle)
    async with TestServer(app) as server:
        played.url = str(server.make_url(""))  # type: ignore[attr-defined] # read by `settings_for` alone
        started = asyncio.Event()
        reading = asyncio.create_task(played.read(kafka, started))
        await started.wait()
        yield played
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


@pytest.fixture
def log(analytics: PlayedLog) -> PlayedLog:
    """The played runner and analytics."""
    return analytics


@pytest.fixture
def connected(vault: PlayedVault) -> None:
    """A key at both well-known providers."""
    for provider in ("openai", "anthropic"):
        vault.keys[str(uuid4())] = {
            "id": str(uuid4()), "provider": provider, "name": "default", "preview": "1234", "version": 1,
            "is_active": True, "verified": True, "created_at": 1, "expires_at": None, "state": "active",
        }  # fmt: skip


def row(number: int, **fields: Any) -> Told:
    """One line of an input."""
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"What of {number}?"}]}
    line = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return {**line, **fields}


def jsonl(rows: list[Any]) -> bytes:
    """Write an input."""
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in rows)


@dataclass
class Caller:
    """Somebody who submits batches, and waits for them."""

    gateway: Gateway
    headers: dict[str, str] = field(default_factory=dict)

    async def upload(self, content: bytes, name: str = "in.jsonl", **fields: str) -> str:
        """Upload an input and return its id."""
        form = {"purpose": "batch", **fields}
        answer = await self.gateway.http.post(
            "/v1/files", data=form, files={"file": (name, content)}, headers=self.headers
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def submit(self, rows: list[Any], **fields: Any) -> Told:
        """Upload and submit a batch."""
        asked = {"fileId": await self.upload(jsonl(rows)), **fields}
        answer = await self.gateway.http.post("/api/batches", json=asked, headers=self.headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["data"])

    async def show(self, batch: Told) -> Told:
        """Return the batch as it stands; money as decimals."""
        answer = await self.gateway.http.get(f"/api/batches/{batch['id']}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return dict(json.loads(answer.text, parse_float=Decimal)["data"])

    async def until(self, batch: Told, reached: Callable[[Told], bool]) -> Told:
        """Return the batch once it is as asked for."""
        end = time.monotonic() + WITHIN
        while not reached(told := await self.show(batch)):
            assert time.monotonic() < end, told
            await asyncio.sleep(0.05)
        return told

    async def ended(self, batch: Told) -> Told:
        """Return the batch once it has ended."""
        return await self.until(batch, lambda told: told["endedAt"] is not None)

    async def do(self, verb: str, batch: Told, **body: Any) -> Told:
        """Cancel, pause, resume or retry it."""
        answer = await self.gateway.http.post(f"/api/batches/{batch['id']}/{verb}", json=body, headers=self.headers)
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json()["data"])

    async def results(self, batch: Told, **asked: Any) -> list[Told]:
        """Return its results."""
        answer = await self.gateway.http.get(f"/api/batches/{batch['id']}/results", params=asked, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return [json.loads(line, parse_float=Decimal) for line in answer.text.splitlines()]

    async def lines(self, file_id: str | None) -> list[Told]:
        """Return the lines of a file."""
        if file_id is None:
            return []
        answer = await self.gateway.http.get(f"/v1/files/{file_id}/content", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


async def heartbeat(sql: asyncpg.Connection) -> None:
    """Return once the owner of the one batch has looked at it anew, from now on."""
    for _ in range(2):
        before = await sql.fetchval("SELECT lease_until FROM batches")
        while await sql.fetchval("SELECT lease_until FROM batches") == before:
            await asyncio.sleep(0.02)


@pytest.fixture
def caller(gateway: Gateway, connected: None) -> Caller:
    """The operator, with both providers connected."""
    return Caller(gateway)
