"""HTTP requests as operators see them: counted and timed by route, each a span of its caller's trace."""

import time
from functools import cache

from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.telemetry import NO_SPAN, TRACING, Block, answered, parent_of

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600)
"""From a cached answer to the longest call that somebody waits for."""

REQUESTS = Histogram(
    "tallyrun_http_request_duration_seconds",
    "HTTP requests, until the last byte of the answer",
    ["method", "route", "status"],
    buckets=SECONDS,
)

PROBES = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Asked for every few seconds: traced, they would hide the runs."""

NO_ROUTE = "none"
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
"""Callers may send any word for one."""

_series = cache(REQUESTS.labels)


class Observed:
    """Counts, times and traces each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with _span(scope) as span:
            try:
                await self._app(scope, receive, noting)
            finally:
                method, route = _method(scope), _route(scope)
                _series(method, route, str(status)).observe(time.perf_counter() - began)
                answered(span, method, route, status)


def _span(scope: Scope) -> Block:
    return NO_SPAN if scope["path"] in PROBES else TRACING.span("HTTP", "server", parent_of(scope["headers"]))


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "other"


def _route(scope: Scope) -> str:
    """Return the template of the route: there are as many as routes, however many paths there are."""
    return getattr(scope.get("route"), "path", NO_ROUTE)
