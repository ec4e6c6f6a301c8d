"""How much is under way here: beyond what this replica can carry, a run is refused before anything of it is read."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from common.contracts.topics import MAX_BODY_BYTES
from common.edge import completed
from common.errors import Overloaded
from common.http import ErrorAnswer
from gateway import metrics

PATHS = frozenset({"/api/integrations/run", "/v1/chat/completions", "/v1/messages"})
"""Where runs come in one by one, at any rate."""

RETRY_SECONDS = 1.0


class Load:
    """Counts requests for runs: those on their way to the log, which take CPU, and those that wait for a result.

    The first are few: each takes a fraction of a millisecond, and whoever comes waits for those before it. Both hold
    their bodies in memory, so that the bytes are bounded as well.
    """

    def __init__(self, most_entering: int, most_open: int, most_bytes: int) -> None:
        self._most_entering = most_entering
        self._most_open = most_open
        self._most_bytes = most_bytes
        self._open = 0
        self._waiting = 0
        self._bytes = 0

    @contextmanager
    def request(self, size: int) -> Iterator[None]:
        """Count a request with a body of this size until the end of the block; raise `Overloaded`."""
        self._check(size)
        self._open += 1
        self._bytes += size
        try:
            yield
        finally:
            self._open -= 1
            self._bytes -= size

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count it as one whose run is on the log, until the end of the block."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def _check(self, size: int) -> None:
        entering = self._open - self._waiting
        over = entering >= self._most_entering or self._open >= self._most_open
        if over or (self._bytes and self._bytes + size > self._most_bytes):
            metrics.REFUSED.labels("load").inc()
            raise Overloaded(
                "this replica has as much to do as it can: nothing of the request was begun, send it again as"
                " Retry-After says",
                retry_after=RETRY_SECONDS,
            )


class Door:
    """Refuses runs while the load is as high as may be. It stands before everything else: a refusal must be cheap."""

    def __init__(self, app: ASGIApp, load: Load, answer: ErrorAnswer) -> None:
        self._app = app
        self._load = load
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] != "http" or scope["path"] not in PATHS:
            return await self._app(scope, receive, send)
        try:
            with self._load.request(_size(scope)):
                return await self._app(scope, receive, send)
        except Overloaded as error:
            response = self._answer(scope, error)
            response.raw_headers = completed(response.raw_headers)
            return await response(scope, receive, send)


def _size(scope: Scope) -> int:
    """Return how large the body is, or may be where nothing is said."""
    declared = dict(scope["headers"]).get(b"content-length", b"")
    return min(int(declared), MAX_BODY_BYTES) if declared.isdigit() else MAX_BODY_BYTES
