"""Server-sent events: the status waits for the first of them, a silence is filled, an error is said in the stream."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Protocol

import orjson
from fastapi import Response
from fastapi.responses import StreamingResponse

from common.errors import TallyrunError
from gateway.online import Ended, Events, Piece, Silence

log = logging.getLogger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which every client ignores. An empty `data:` breaks the official ones."""

HEADERS = {"x-accel-buffering": "no"}
"""Keeps nginx from collecting the answer: http://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering"""


class Writer(Protocol):
    """Writes one surface's events."""

    def events(self, texts: list[str]) -> Iterable[bytes]:
        """Yield the provider's events as the surface writes them."""

    def end(self, ended: Ended) -> Iterable[bytes]:
        """Yield what comes last: the whole answer, where no event came."""

    def error(self, error: TallyrunError) -> bytes:
        """Return an error as an event."""


async def streamed(pieces: AsyncGenerator[Piece], writer: Writer, headers: dict[str, str]) -> Response:
    """Answer a stream; what fails before its first byte is raised, and answered with its own status."""
    limits: dict[str, str] = {}
    written = _written(pieces, writer, limits)
    first = await anext(written)
    headers = {**HEADERS, **limits, **headers}
    return StreamingResponse(_begun(first, written, writer), headers=headers, media_type="text/event-stream")


async def _written(pieces: AsyncGenerator[Piece], writer: Writer, limits: dict[str, str]) -> AsyncGenerator[bytes]:
    """Yield the pieces as text; what the provider says of its limits is in `limits` once the first was read."""
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, Events):
                limits.update(piece.limits)
            if text := b"".join(_texts(piece, writer)):
                yield text


def _texts(piece: Piece, writer: Writer) -> Iterable[bytes]:
    match piece:
        case Silence():
            return (KEEP_ALIVE,)
        case Events(texts, _):
            return writer.events(texts)
        case Ended():
            return writer.end(piece)


async def _begun(first: bytes, more: AsyncGenerator[bytes], writer: Writer) -> AsyncIterator[bytes]:
    try:
        async with aclosing(more):
            yield first
            async for text in more:
                yield text
    except TallyrunError as error:
        yield writer.error(error)
    except Exception:
        log.exception("a stream met a fault of ours")
        yield writer.error(TallyrunError("internal error; it has been logged"))


def data(body: object) -> bytes:
    """Return an event that has no name."""
    return b"data: %b\n\n" % orjson.dumps(body)


def event(name: str, text: bytes) -> bytes:
    """Return an event under its name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), text)
