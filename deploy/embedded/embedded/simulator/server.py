"""The simulator over HTTP: the providers' paths, and the control endpoint beside them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from embedded.simulator import streaming, wires
from embedded.simulator.batches import Batches, key_of
from embedded.simulator.behaviour import Behaviour, Steering, Step
from embedded.simulator.ledger import Ledger
from embedded.simulator.prompt import Call, images, read_call
from embedded.simulator.writing import Written, write

MAX_BODY_BYTES = 256 * 2**20
LOOPBACK = "127.0.0.1"
FOREVER_SECONDS = 86_400


class Simulator:
    """Answers calls as it is steered, and counts them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.steering = Steering(behaviour)
        self.ledger = Ledger()
        self.batches = Batches(self._in_batch)

    def app(self) -> web.Application:
        """Return the HTTP application."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/control", self._show)
        app.router.add_post("/control", self._steer)
        app.router.add_delete("/control", self._reset)
        app.router.add_get("/control/calls", self._calls)
        app.router.add_delete("/control/calls", self._forget)
        app.router.add_get("/control/last", self._last)
        app.router.add_routes(self.batches.routes())
        return app

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "chat")

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "messages")

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, "models")

    async def _answer(self, request: web.Request, path: str) -> web.StreamResponse:
        content = await request.read()
        call = self.ledger.placed(read_call(path, key_of(request), _json(content)))
        step = self.steering.fate(call)
        anthropic = path == "messages" or "anthropic-version" in request.headers
        reply = None if step.kind in {"hang", "reset"} else self._reply(call, step, anthropic)
        if reply is not None and (allowance := self.steering.allowance()) is not None:
            reply.headers.update(wires.allowance_headers(allowance, anthropic))
        self.ledger.received(call, reply.status if reply else 0)
        self.ledger.last_body = content or self.ledger.last_body
        await self._take_time(self.steering.latency_seconds(call, step) if step.kind != "hang" else FOREVER_SECONDS)
        if reply is None:
            return _cut(request)
        if reply.status == 200 and call.path != "models" and call.body.get("stream"):
            return await self._stream(request, call, reply, step)
        return _response(reply, step)

    def _in_batch(self, call: Call) -> wires.Reply:
        """Answer a batch's row; a step that has no answer is a fault of the server's."""
        call = self.ledger.placed(call)
        step = self.steering.fate(call)
        if step.kind in {"hang", "reset", "malformed"}:
            step = Step(kind="server_error")
        reply = self._reply(call, step, call.path == "messages")
        self.ledger.received(call, reply.status)
        return reply

    async def _stream(self, request: web.Request, call: Call, reply: wires.Reply, step: Step) -> web.StreamResponse:
        anthropic = call.path == "messages"
        response = web.StreamResponse(headers={**reply.headers, "content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number, event in enumerate(_events(call, reply)):
            if number == step.break_after:
                return await _break(request, response, wires.error(Step(kind="server_error"), call, anthropic), step)
            if number and step.pace_ms:
                await asyncio.sleep(step.pace_ms / 1000)
            await response.write(event)
        await response.write_eof()
        return response

    async def _take_time(self, seconds: float) -> None:
        self.ledger.in_flight += 1
        self.ledger.peak = max(self.ledger.peak, self.ledger.in_flight)
        try:
            if seconds:
                await asyncio.sleep(seconds)
        finally:
            self.ledger.in_flight -= 1

    def _reply(self, call: Call, step: Step, anthropic: bool) -> wires.Reply:
        if step.kind not in {"ok", "malformed"}:
            return wires.error(step, call, anthropic)
        if call.path == "models":
            return wires.models(anthropic)
        if fault := _fault(call):
            return wires.error(Step(kind="bad_request", message=fault), call, anthropic)
        return self._written(call, step)

    def _written(self, call: Call, step: Step) -> wires.Reply:
        written = write(call)
        reply = wires.message(call, written) if call.path == "messages" else wires.chat_completion(call, written)
        _merge(reply.body, step.merge)
        self.ledger.charged(call.model, _usage(written, len(reply.body.get("choices") or [1])))
        return reply

    async def _show(self, _: web.Request) -> web.Response:
        return _json_response(self.steering.behaviour.model_dump())

    async def _steer(self, request: web.Request) -> web.Response:
        try:
            behaviour = self.steering.change(orjson.loads(await request.read()))
        except (ValidationError, orjson.JSONDecodeError, TypeError) as error:
            return _json_response({"error": str(error)}, 422)
        return _json_response(behaviour.model_dump())

    async def _reset(self, _: web.Request) -> web.Response:
        self.steering.reset()
        return _json_response(self.steering.behaviour.model_dump())

    async def _calls(self, request: web.Request) -> web.Response:
        return _json_response(self.ledger.report(request.query.get("prompt"), "all" in request.query))

    async def _forget(self, _: web.Request) -> web.Response:
        self.ledger.clear()
        return _json_response(self.ledger.report())

    async def _last(self, _: web.Request) -> web.Response:
        return web.Response(body=self.ledger.last_body, content_type="application/json")


def _json(content: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _fault(call: Call) -> str | None:
    """Return what the real provider would reject in the body."""
    if not call.model:
        return "you must provide a model parameter"
    if not isinstance(call.body.get("messages"), list) or not call.body["messages"]:
        return "messages: a list of at least one message is required"
    if call.path == "messages" and not isinstance(call.body.get("max_tokens"), int):
        return "max_tokens: Field required"
    if any(not _is_image(part) for part in images(call.body)):
        return "image: a source is required, as base64 or as a URL"
    return None


def _is_image(part: dict[str, Any]) -> bool:
    source = part.get("source") or part.get("image_url") or {}
    return bool(
        source.get("url") or (source.get("type") == "base64" and source.get("media_type") and source.get("data"))
    )


def _events(call: Call, reply: wires.Reply) -> Iterator[bytes]:
    if call.path == "messages":
        return streaming.message_events(reply.body)
    options = call.body.get("stream_options") or {}
    return streaming.chat_events(reply.body, usage=bool(options.get("include_usage")))


async def _break(
    request: web.Request, response: web.StreamResponse, error: wires.Reply, step: Step
) -> web.StreamResponse:
    """Break a stream off, as the step says."""
    if step.break_by == "cut" and request.transport is not None:
        request.transport.abort()
        return response
    if step.break_by == "error":
        await response.write(streaming.error_event(error.body, anthropic="request_id" in error.body))
    await response.write_eof()
    return response


def _merge(body: dict[str, Any], over: dict[str, Any]) -> None:
    for name, value in over.items():
        if isinstance(value, dict) and isinstance(body.get(name), dict):
            _merge(body[name], value)
        else:
            body[name] = value


def _usage(written: Written, choices: int) -> dict[str, int]:
    return {
        "input": written.prompt_tokens,
        "cached": written.cached,
        "cache_writes": written.cache_writes,
        "output": written.output_tokens * choices,
        "reasoning": written.reasoning * choices,
    }


def _response(reply: wires.Reply, step: Step) -> web.Response:
    content = orjson.dumps(reply.body)
    if step.kind == "malformed":
        content = content[: len(content) // 2]
    return web.Response(body=content, status=reply.status, headers=reply.headers, content_type="application/json")


def _cut(request: web.Request) -> web.Response:
    """Cut the connection as a crash would: the client sees it reset, and no answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _json_response(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


@dataclass(frozen=True)
class Running:
    """A simulator that listens, for tests in the same process: steer it and read its ledger directly."""

    simulator: Simulator
    url: str

    @property
    def openai_base_url(self) -> str:
        """What OPENAI_BASE_URL must say."""
        return f"{self.url}/v1"

    @property
    def anthropic_base_url(self) -> str:
        """What ANTHROPIC_BASE_URL must say."""
        return self.url

    def control(self, **fields: Any) -> None:
        """Do what `POST /control` does."""
        self.simulator.steering.change(fields)

    def calls(self, prompt: str | None = None) -> dict[str, Any]:
        """Return what `GET /control/calls` returns."""
        return self.simulator.ledger.report(prompt)


@asynccontextmanager
async def running(behaviour: Behaviour | None = None, port: int = 0, host: str = LOOPBACK) -> AsyncIterator[Running]:
    """Serve while the block runs; port 0 is any free one. Calls under way at its end are cut."""
    simulator = Simulator(behaviour or Behaviour())
    # Handlers end with their client, so that a call that hangs does not outlive who asked.
    runner = web.AppRunner(simulator.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        listening = runner.addresses[0][1]
        yield Running(simulator, f"http://{host}:{listening}")
    finally:
        await runner.cleanup()
