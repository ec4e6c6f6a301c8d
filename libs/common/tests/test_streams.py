"""Streams between services: passed on as they come, refused as any answer, and never cut off in silence."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import FastAPI, Response

from common.errors import NotFound, TallyrunError, Unavailable
from common.http import ServiceClient, error_response, streamed

PIECE = b"x" * 100_000


class Speaker:
    def service_token(self, audience: str) -> str:
        return f"for {audience}"


async def _answer(request: web.Request) -> web.StreamResponse:
    assert request.headers["authorization"] == "Bearer for other"
    if request.path == "/refused":
        error = NotFound("no such thing")
        return web.json_response(error.body(), status=error.status)
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(int(request.query["pieces"])):
        await response.write(PIECE)
    if request.path == "/cut":
        assert request.transport is not None
        request.transport.abort()
    return response


@pytest.fixture
async def client() -> AsyncIterator[ServiceClient]:
    app = web.Application()
    app.router.add_get("/{path}", _answer)
    async with TestServer(app) as server:
        client = ServiceClient(str(server.make_url("/")), "other", Speaker())
        yield client
        await client.close()


async def test_a_stream_arrives_whole(client: ServiceClient) -> None:
    pieces = [piece async for piece in client.stream("/whole", params={"pieces": "7"})]
    assert len(pieces) > 1
    assert b"".join(pieces) == 7 * PIECE


async def test_a_stream_that_is_cut_off_is_no_end(client: ServiceClient) -> None:
    with pytest.raises(Unavailable, match="other cannot be reached"):
        [piece async for piece in client.stream("/cut", params={"pieces": "3"})]


async def test_a_refusal_is_the_very_error(client: ServiceClient) -> None:
    with pytest.raises(NotFound, match="no such thing"):
        await anext(client.stream("/refused"))


async def test_an_error_before_the_first_piece_is_an_answer_and_one_after_it_breaks_the_connection() -> None:
    app = FastAPI()

    @app.exception_handler(TallyrunError)
    async def known(_: object, error: TallyrunError) -> Response:
        return error_response(error)

    async def pieces(before: int) -> AsyncIterator[bytes]:
        for _ in range(before):
            yield PIECE
        raise Unavailable("away")

    @app.get("/{before}")
    async def ask(before: int) -> Response:
        return await streamed(pieces(before), "text/plain")

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://a") as client:
        assert (await client.get("/0")).status_code == 503
        with pytest.raises(Exception, match=r"away|already started"):
            await client.get("/2")
