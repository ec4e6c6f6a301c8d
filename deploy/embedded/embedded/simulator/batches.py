"""Both providers' batch endpoints: a batch waits, is carried out in disorder, and leaves its results."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson
from aiohttp import BodyPartReader, web

from embedded.simulator import wires
from embedded.simulator.behaviour import Step
from embedded.simulator.prompt import Call, read_call

Wire = Literal["chat", "messages"]
Answering = Callable[[Call], wires.Reply]
"""Answers one row as a call of its own would be, and counts it."""

DAY = timedelta(hours=24)
FINAL = ("completed", "failed", "expired", "cancelled")


@dataclass
class Batch:
    """One batch. `rows`: (custom id, body) in the order sent; `failed`: lines apart, where the wire has them so."""

    id: str
    wire: Wire
    key: str
    rows: list[tuple[str, Any]]
    asked: dict[str, Any]
    created: float = field(default_factory=time.time)
    begun: float | None = None
    ended: float | None = None
    status: str = "validating"
    errors: list[dict[str, Any]] = field(default_factory=list)
    output: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


@dataclass
class Pace:
    """How batches go: seconds until a batch begins and until it ends; `served`: the share of rows before it expires."""

    seconds: float = 0.5
    served: float = 1.0


class Batches:
    """Keeps files and batches; each is its key's alone."""

    def __init__(self, answering: Answering) -> None:
        self.pace = Pace()
        self.batches: dict[str, Batch] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.lose_next: str | None = None
        """How the next creation is not heard of: cut "before" or "after" it is made, or made with a "fault" told."""
        self._answering = answering

    def routes(self) -> list[web.RouteDef]:
        """Return both providers' paths, and what steers them."""
        return [
            web.post("/v1/files", self._upload),
            web.get("/v1/files/{id}/content", self._content),
            web.post("/v1/batches", self._create_openai),
            web.get("/v1/batches", self._list),
            web.get("/v1/batches/{id}", self._show),
            web.post("/v1/batches/{id}/cancel", self._cancel),
            web.post("/v1/messages/batches", self._create_anthropic),
            web.get("/v1/messages/batches", self._list),
            web.get("/v1/messages/batches/{id}", self._show),
            web.post("/v1/messages/batches/{id}/cancel", self._cancel),
            web.get("/v1/messages/batches/{id}/results", self._results),
            web.get("/control/batches", self._report),
            web.post("/control/batches", self._steer),
        ]

    async def _upload(self, request: web.Request) -> web.Response:
        key = key_of(request)
        if refused := _refused(key, anthropic=False):
            return refused
        content = b""
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "file":
                content = bytes(await part.read())
        name = f"file-{uuid.uuid4().hex}"
        self.files[name] = key, content
        return _json({"id": name, "object": "file", "bytes": len(content), "purpose": "batch"})

    async def _content(self, request: web.Request) -> web.Response:
        key, content = self.files.get(request.match_info["id"], ("", b""))
        if key != key_of(request):
            return _missing(anthropic=False)
        return web.Response(body=content, content_type="application/octet-stream")

    async def _create_openai(self, request: web.Request) -> web.Response:
        key, asked = key_of(request), orjson.loads(await request.read())
        owner, content = self.files.get(asked.get("input_file_id"), ("", b""))
        if refused := _refused(key, anthropic=False):
            return refused
        if owner != key:
            return _missing(anthropic=False)
        lines = [orjson.loads(line) for line in content.splitlines()]
        batch = Batch(f"batch_{uuid.uuid4().hex}", "chat", key, [(r["custom_id"], r["body"]) for r in lines], asked)
        batch.errors = _faults(lines, asked.get("endpoint"))
        return self._begin(batch, request)

    async def _create_anthropic(self, request: web.Request) -> web.Response:
        key, asked = key_of(request), orjson.loads(await request.read())
        if refused := _refused(key, anthropic=True):
            return refused
        rows = [(row["custom_id"], row["params"]) for row in asked["requests"]]
        batch = Batch(f"msgbatch_{uuid.uuid4().hex[:24]}", "messages", key, rows, {}, status="in_progress")
        return self._begin(batch, request)

    def _begin(self, batch: Batch, request: web.Request) -> web.Response:
        lose, self.lose_next = self.lose_next, None
        if lose != "before":
            self.batches[batch.id] = batch
            batch.task = asyncio.create_task(self._carry_out(batch))
        if lose == "fault":
            return _json({"error": {"type": "server_error", "message": "it may have been made"}}, 500)
        if lose is not None and request.transport is not None:
            request.transport.abort()
        return _json(_told(batch))

    async def _carry_out(self, batch: Batch) -> None:
        await asyncio.sleep(self.pace.seconds / 2)
        if batch.errors:
            self._end(batch, "failed")
            return
        batch.begun, batch.status = time.time(), "in_progress" if batch.status == "validating" else batch.status
        rows = list(batch.rows)
        random.Random(batch.id).shuffle(rows)  # noqa: S311 - the disorder that real ones have
        served = round(len(rows) * self.pace.served)
        for custom_id, body in rows[:served]:
            self._serve(batch, custom_id, body)
        await asyncio.sleep(self.pace.seconds / 2)
        for custom_id, _ in rows[served:]:
            _leave(batch, custom_id, "expired")
        self._end(batch, "expired" if served < len(rows) else "completed")

    def _serve(self, batch: Batch, custom_id: str, body: Any) -> None:
        call = read_call(batch.wire, batch.key, body)
        reply = self._answering(call)
        good = reply.status == 200
        _count(batch, good=good)
        if batch.wire == "messages":
            told = {"type": "succeeded", "message": _in_batch(reply.body)} if good else _errored(reply.body)
            batch.output.append({"custom_id": custom_id, "result": told})
            return
        response = {"status_code": reply.status, "request_id": uuid.uuid4().hex, "body": reply.body}
        line = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": custom_id, "response": response, "error": None}
        (batch.output if good else batch.failed).append(line)

    def _end(self, batch: Batch, status: str) -> None:
        batch.ended, batch.status = time.time(), status if batch.wire == "chat" else "ended"
        for name, lines in (("output", batch.output), ("error", batch.failed)):
            if batch.wire == "chat" and lines:
                content = b"".join(orjson.dumps(line) + b"\n" for line in lines)
                self.files[f"file-{name}-{batch.id}"] = batch.key, content

    async def _list(self, request: web.Request) -> web.Response:
        wire: Wire = "messages" if "/messages/" in request.path else "chat"
        if refused := _refused(key_of(request), anthropic=wire == "messages"):
            return refused
        mine = [b for b in self.batches.values() if (b.wire, b.key) == (wire, key_of(request))]
        mine.sort(key=lambda batch: -batch.created)
        after = request.query.get("after_id" if wire == "messages" else "after")
        begin = next((place + 1 for place, batch in enumerate(mine) if batch.id == after), 0)
        limit = int(request.query.get("limit", "20"))
        page = mine[begin : begin + limit]
        ends = {"first_id": page[0].id, "last_id": page[-1].id} if page else {}
        return _json({"data": [_told(b) for b in page], "has_more": begin + limit < len(mine), **ends})

    async def _show(self, request: web.Request) -> web.Response:
        batch = self._mine(request)
        return _missing("/messages/" in request.path) if batch is None else _json(_told(batch))

    async def _results(self, request: web.Request) -> web.Response:
        batch = self._mine(request)
        if batch is None or batch.ended is None:
            return _missing(anthropic=True)
        return web.Response(body=b"".join(orjson.dumps(line) + b"\n" for line in batch.output))

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self._mine(request)
        if batch is None:
            return _missing("/messages/" in request.path)
        if batch.ended is not None:
            return _json({"error": {"message": f"the batch is {batch.status}", "type": "invalid_request_error"}}, 409)
        if batch.task is not None:
            batch.task.cancel()
        told = {line["custom_id"] for line in (*batch.output, *batch.failed)}
        for custom_id, _ in batch.rows:
            if custom_id not in told:
                _leave(batch, custom_id, "cancelled")
        self._end(batch, "cancelled")
        return _json(_told(batch))

    def _mine(self, request: web.Request) -> Batch | None:
        batch = self.batches.get(request.match_info["id"])
        return batch if batch is not None and batch.key == key_of(request) else None

    async def _report(self, _: web.Request) -> web.Response:
        return _json([{**_told(made), "rows": len(made.rows), "first": made.rows[0]} for made in self.batches.values()])

    async def _steer(self, request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        self.pace = Pace(asked.get("seconds", self.pace.seconds), asked.get("served", self.pace.served))
        self.lose_next = asked.get("lose_next", self.lose_next)
        return _json(vars(self.pace))


def key_of(request: web.Request) -> str:
    """Return the API key that was sent."""
    if key := request.headers.get("x-api-key"):
        return key
    return request.headers.get("authorization", "").removeprefix("Bearer ").strip()


def _told(batch: Batch) -> dict[str, Any]:
    return _openai(batch) if batch.wire == "chat" else _anthropic(batch)


def _openai(batch: Batch) -> dict[str, Any]:
    times = {f"{status}_at": int(batch.ended) for status in FINAL if batch.status == status and batch.ended}
    files = {"output_file_id": f"file-output-{batch.id}" if batch.ended and batch.output else None}
    files["error_file_id"] = f"file-error-{batch.id}" if batch.ended and batch.failed else None
    counts = {"total": len(batch.rows), "completed": 0, "failed": 0, **batch.counts}
    return {
        "id": batch.id, "object": "batch", "endpoint": batch.asked.get("endpoint"), "status": batch.status,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.asked.get("input_file_id"), "completion_window": "24h",
        "metadata": batch.asked.get("metadata"), "created_at": int(batch.created),
        "in_progress_at": batch.begun and int(batch.begun), "request_counts": counts, **times, **files,
    }  # fmt: skip


def _anthropic(batch: Batch) -> dict[str, Any]:
    """Return the batch as its wire has it: until its end every request is `processing`."""
    kinds = ("succeeded", "errored", "canceled", "expired")
    counts = {kind: sum(line["result"]["type"] == kind for line in batch.output) for kind in kinds}
    over = batch.ended is not None
    untold = {"processing": len(batch.rows), **dict.fromkeys(kinds, 0)}
    return {
        "id": batch.id, "type": "message_batch", "processing_status": "ended" if over else "in_progress",
        "request_counts": {"processing": 0, **counts} if over else untold,
        "created_at": _moment(batch.created), "expires_at": _moment(batch.created + DAY.total_seconds()),
        "ended_at": _moment(batch.ended) if batch.ended else None, "cancel_initiated_at": None, "archived_at": None,
        "results_url": f"/v1/messages/batches/{batch.id}/results" if over else None,
    }  # fmt: skip


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _faults(lines: list[dict[str, Any]], endpoint: str | None) -> list[dict[str, Any]]:
    """Return what the real one refuses a file for: another endpoint, and more than one model."""
    faults = [
        {"code": "mismatched_endpoint", "line": number, "message": "its url is not the batch's", "param": "url"}
        for number, line in enumerate(lines, 1)
        if line.get("url") != endpoint
    ]
    if len({line["body"].get("model") for line in lines}) > 1:
        message = "The model for each request must be the same in one batch."
        faults.append({"code": "mismatched_model", "line": None, "message": message, "param": "body.model"})
    return faults


def _leave(batch: Batch, custom_id: str, why: Literal["expired", "cancelled"]) -> None:
    if batch.wire == "messages":
        kind = "canceled" if why == "cancelled" else why
        batch.output.append({"custom_id": custom_id, "result": {"type": kind}})
        return
    error = {"code": f"batch_{why}", "message": f"This request was not carried out: the batch {why}."}
    batch.failed.append({"id": uuid.uuid4().hex, "custom_id": custom_id, "response": None, "error": error})


def _count(batch: Batch, *, good: bool) -> None:
    name = "completed" if good else "failed"
    batch.counts[name] = batch.counts.get(name, 0) + 1


def _in_batch(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "usage": {**body["usage"], "service_tier": "batch"}}


def _errored(body: dict[str, Any]) -> dict[str, Any]:
    return {"type": "errored", "error": {"type": "error", "error": body.get("error")}}


def _refused(key: str, *, anthropic: bool) -> web.Response | None:
    if key and not key.startswith("refused"):
        return None
    reply = wires.error(Step(kind="invalid_api_key"), read_call("chat", key, {}), anthropic)
    return _json(reply.body, reply.status)


def _missing(anthropic: bool) -> web.Response:
    error = {"type": "not_found_error" if anthropic else "invalid_request_error", "message": "No such object"}
    return _json({"type": "error", "error": error} if anthropic else {"error": error}, 404)


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
