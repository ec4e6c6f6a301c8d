from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI

from common.errors import Unavailable
from common.heartbeat import LONGEST_TURN_SECONDS, Heartbeat
from common.http import service_app


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_loop_that_turns_is_alive_and_one_that_hangs_is_not() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock=clock)
    clock.now = LONGEST_TURN_SECONDS
    await heartbeat.check()
    clock.now += 1
    with pytest.raises(Unavailable, match="has not turned for 301 s"):
        await heartbeat.check()
    heartbeat.beat()
    await heartbeat.check()


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


async def away() -> None:
    raise Unavailable("a neighbour is away")


async def test_liveness_tells_of_the_loop_and_readiness_of_the_neighbours() -> None:
    clock = Clock()
    app = service_app("worker", nothing, away, 100, alive=Heartbeat(clock=clock).check)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://worker") as client:
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
        clock.now = LONGEST_TURN_SECONDS + 1
        assert (await client.get("/health/live")).status_code == 503
