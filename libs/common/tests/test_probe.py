import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from common.probe import main


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
async def test_it_answers_as_the_service_does(status: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text="what it said")

    app = web.Application()
    app.router.add_get("/health/ready", answer)
    async with TestServer(app) as server:
        assert await asyncio.to_thread(main, str(server.make_url("/health/ready"))) == code
    assert ("what it said" in capsys.readouterr().out) == bool(code)


def test_nobody_there_is_a_failure(unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"http://127.0.0.1:{unused_tcp_port}/health/ready") == 1
    assert "refused" in capsys.readouterr().out
