"""HTTP, as every service speaks it: one error shape, health, metrics, body limits; and calls between services."""

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Protocol

import aiohttp
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, disable_created_metrics, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import STARTUP_FAILURE

from common.contracts.registry import parse_examples
from common.edge import Edge, completed
from common.errors import (
    Forbidden,
    InvalidRequest,
    LockedOut,
    MethodNotAllowed,
    NotFound,
    TallyrunError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    from_wire,
)
from common.observed import Observed
from common.openapi import PROBES, documented
from common.redaction import SECRETS
from common.telemetry import TRACING, trace_headers

log = logging.getLogger(__name__)

DISCARDED_BYTES = 64 * 1024 * 1024
"""At most so much of a refused body is read to its end; the sender of more may lose the answer."""

DENIED = Counter("tallyrun_denied_requests", "Requests refused for who sent them", ["code"])
BUILD = Gauge("tallyrun_build_info", "1, with the service and its version as labels", ["service", "version"])

Ready = Callable[[], Awaitable[None]]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

LONGEST_PATH = 256

STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
"""Seconds. A stream may take as long as it likes, as long as it goes on."""
LEAVING_SECONDS = 0.5
"""Long enough for busy callers, which are those that would lose a request; little enough for who waits for the stop."""


@dataclass(frozen=True)
class Denial:
    """A request that was refused for who sent it: `caller` is empty where that is not known."""

    code: str
    reason: str
    caller: str
    address: str
    method: str
    path: str


Denied = Callable[[Denial], Awaitable[None]]
"""Writes a denial down."""


Params = dict[str, str] | list[tuple[str, str]] | None
"""Query parameters: pairs where a name may come again."""

ErrorAnswer = Callable[[Scope, TallyrunError], Response]
"""Answers an error, in the shape that the callers of the request's path expect."""


class Speaker(Protocol):
    """Proves who this service is."""

    def service_token(self, audience: str) -> str:
        """Return a token for this audience."""


def json_response(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer bytes that are JSON already."""
    return Response(content, status, headers, media_type="application/json")


def error_response(error: TallyrunError) -> Response:
    """Answer an error in our own shape."""
    return json_response(orjson.dumps(error.body()), error.status, error_headers(error))


def error_headers(error: TallyrunError) -> dict[str, str]:
    """Return an error's headers; after acceptance they forbid the official clients their silent retries."""
    headers = {"www-authenticate": "Bearer"} if isinstance(error, Unauthenticated) else {}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if error.run_id is not None:
        headers["x-should-retry"] = "false"
    return {**headers, **error.headers}


def in_one_shape(_: Scope, error: TallyrunError) -> Response:
    """Answer an error in our own shape, whatever the path."""
    return error_response(error)


async def streamed(pieces: AsyncIterator[bytes], media_type: str, headers: dict[str, str] | None = None) -> Response:
    """Answer these pieces as they come; what is raised before the first of them is an error as any other.

    What is raised later breaks the connection, so that nobody takes a part for the whole.
    """
    first = await anext(pieces, b"")

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return StreamingResponse(whole(), headers=headers, media_type=media_type)


def service_app(
    title: str,
    lifespan: Lifespan,
    ready: Ready,
    max_body_bytes: int,
    denied: Denied | None = None,
    answer: ErrorAnswer = in_one_shape,
    larger_bodies: Mapping[str, int] = MappingProxyType({}),
    alive: Ready | None = None,
) -> FastAPI:
    """Return an app with health, metrics, a body limit and errors that are answered everywhere as `answer` says.

    `larger_bodies`: the paths whose bodies are streamed, and may have so many bytes instead.
    `ready` raises while it is not, `alive` once only a restart helps. `denied` writes down who was refused, which is
    logged and counted anyway.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call] # each would come with a second series that nothing reads
    BUILD.labels(title.rpartition(" ")[2], version("tallyrun-common")).set(1)
    app = FastAPI(title=title, lifespan=_traced(lifespan), docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes, answer=answer, larger=larger_bodies)
    app.add_middleware(Edge)
    app.add_middleware(Observed)
    _answer_errors(app, denied, answer)
    documented(app)

    @app.get("/health/live", tags=[PROBES])
    async def live() -> dict[str, str]:
        if alive is not None:
            await alive()
        return {"status": "live"}

    @app.get("/health/ready", tags=[PROBES])
    async def readiness() -> dict[str, str]:
        await ready()
        return {"status": "ready"}

    @app.get("/metrics", tags=[PROBES], response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


def _traced(lifespan: Lifespan) -> Lifespan:
    """Send the last spans once everything has ended: the signal that stops a service ends its process at once."""

    @asynccontextmanager
    async def traced(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with lifespan(app):
                yield
        finally:
            await TRACING.close()

    return traced


def _answer_errors(app: FastAPI, denied: Denied | None, answer: ErrorAnswer) -> None:
    @app.exception_handler(TallyrunError)
    async def known(request: Request, error: TallyrunError) -> Response:
        if isinstance(error, Unauthenticated | Forbidden | LockedOut):
            await _note(request, error, denied)
        return answer(request.scope, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request.scope, _invalid(error))

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        return answer(request.scope, _routing_error(request, error))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("unexpected error", extra={"path": request.url.path}, exc_info=error)
        response = answer(request.scope, TallyrunError("internal error; it has been logged"))
        response.raw_headers = completed(response.raw_headers)  # it comes about outside of `Edge`
        return response


async def _note(request: Request, error: TallyrunError, denied: Denied | None) -> None:
    """Log, count and write down a denial; of an address that is locked out, count alone: it may send thousands."""
    DENIED.labels(error.code).inc()
    if isinstance(error, LockedOut):
        return
    denial = Denial(
        code=error.code,
        reason=error.message,
        caller=str(getattr(request.state, "caller", "")),
        address=request.client.host if request.client else "",
        method=request.method,
        path=SECRETS.redacted(request.url.path[:LONGEST_PATH]),
    )
    log.warning("denied", extra=vars(denial))
    if denied is None:
        return
    try:
        await denied(denial)
    except TallyrunError as unwritten:  # it stays denied
        log.error("a denial was not written down: %s", unwritten.message)  # noqa: TRY400 - the reason is enough


def _invalid(error: RequestValidationError) -> InvalidRequest:
    """Name the field and what is allowed; never echo the input, which may hold a key."""
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        return InvalidRequest("body: not valid JSON")
    field = ".".join(str(part) for part in fault["loc"] if part not in ("body", "query", "path", "header"))
    return InvalidRequest(f"{field or 'body'}: {fault['msg']}", param=field or None)


def _routing_error(request: Request, error: HTTPException) -> TallyrunError:
    if isinstance(error.__cause__, TallyrunError):  # FastAPI wraps what reading the body raised
        return error.__cause__
    if error.status_code == 404:
        return NotFound(f"no such path: {request.url.path}")
    if error.status_code == 405:
        return MethodNotAllowed(f"{request.method} is not allowed on {request.url.path}")
    return InvalidRequest(str(error.detail))


class BodyLimit:
    """Refuses a body over the limit: by its declared length at once, otherwise when the limit is passed."""

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        answer: ErrorAnswer = in_one_shape,
        larger: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._answer = answer
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counted body."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._larger.get(scope["path"], self._max_bytes)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await _discard(receive)
            return await self._answer(scope, _over(limit))(scope, receive, send)
        return await self._app(scope, _counted(receive, limit), send)


def _counted(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            await _discard(receive)
            raise _over(limit)
        return message

    return counted


def _over(limit: int) -> TooLarge:
    return TooLarge(f"the body is over the limit of {limit} bytes")


async def _discard(receive: Receive) -> None:
    """Read on for a while before refusing: a connection that is closed in mid-upload loses the answer."""
    discarded = 0
    while discarded < DISCARDED_BYTES:
        message = await receive()
        discarded += len(message.get("body", b""))
        if not message.get("more_body"):
            return


def serve(app: FastAPI, host: str, port: int, drain_seconds: int) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish the requests that run for at most `drain_seconds`."""
    parse_examples()
    gc.freeze()  # what the imports made lives for ever: walking it again and again took a third of an accept's CPU
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Nobody is believed about the client's address, local processes included, unless the operator names proxies.
        proxy_headers="FORWARDED_ALLOW_IPS" in os.environ,
        timeout_graceful_shutdown=drain_seconds,
    )
    server = _Leaving(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class _Leaving(uvicorn.Server):
    """Says with each answer, for a moment before it goes, that it is the last one of its connection.

    A connection that is closed in the very moment when its caller sends the next request loses that request.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let callers leave, then finish what runs."""
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        until = time.monotonic() + LEAVING_SECONDS
        # The server tells nobody of connections that end.
        while self.server_state.connections and time.monotonic() < until and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


class ServiceClient:
    """Calls another service under this service's identity, and raises the very error it answered."""

    def __init__(self, base_url: str, audience: str, speaker: Speaker, timeout_seconds: float = 10) -> None:
        self._base_url = base_url.rstrip("/")
        self._audience = audience
        self._speaker = speaker
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        params: Params = None,
        seconds: float | None = None,
    ) -> bytes:
        """Return the answer's body; raise `Unavailable` where the service cannot be reached, or takes longer."""
        timeout = aiohttp.ClientTimeout(total=seconds) if seconds else self._timeout
        with TRACING.span(f"{method} {self._audience}", "client"):
            answer, content = await self._asked(method, path, body, params, timeout)
            if answer.status >= 400:
                raise self._refusal(answer, content)
        return content

    async def _asked(
        self, method: str, path: str, body: bytes | None, params: Params, timeout: aiohttp.ClientTimeout
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        try:
            async with self._started().request(
                method, self._base_url + path, data=body, params=params, headers=self._headers(), timeout=timeout
            ) as answer:
                return answer, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{self._audience} cannot be reached", retry_after=2) from error

    async def stream(self, path: str, *, params: Params = None) -> AsyncIterator[bytes]:
        """Yield an answer's body as it comes; raise `Unavailable` where the service is not reached, or breaks off."""
        try:
            async with self._started().get(
                self._base_url + path, params=params, headers=self._headers(), timeout=STREAM_TIMEOUT
            ) as answer:
                if answer.status >= 400:
                    raise self._refusal(answer, await answer.read())
                async for piece in answer.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{self._audience} cannot be reached", retry_after=2) from error

    def _refusal(self, answer: aiohttp.ClientResponse, content: bytes) -> TallyrunError:
        error = from_wire(answer.status, _json(content), _seconds(answer.headers.get("retry-after")))
        if isinstance(
            error, Unauthenticated | Forbidden | LockedOut
        ):  # this service's own identity, never the caller's
            log.error("%s refuses this service: %s", self._audience, error.message)
            return Unavailable(f"{self._audience} does not accept this service's identity", retry_after=30)
        return error

    def _started(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self._session

    def _headers(self) -> dict[str, str]:
        token = self._speaker.service_token(self._audience)
        return {"authorization": f"Bearer {token}", "content-type": "application/json", **trace_headers()}


def bearer(request: Request) -> str:
    """Return the request's bearer token, or an empty string."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _json(content: bytes) -> dict[str, object]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdigit() else None
