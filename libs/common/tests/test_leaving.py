"""A service that is told to stop loses no request of those who call it at that moment."""

import asyncio
import signal
import sys

import aiohttp

from common.engines.ports import free_port, listening

SERVE = """
import sys
from fastapi import FastAPI
from common.http import serve
app = FastAPI()

@app.post("/")
async def root() -> str:
    return "here"

serve(app, "127.0.0.1", int(sys.argv[1]), 5)
"""
CALLERS = 20


async def test_callers_are_told_to_leave_before_their_connections_are_closed() -> None:
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVE, str(port))
    async with asyncio.timeout(30):
        while not listening(port):
            await asyncio.sleep(0.02)
    calling, answered = asyncio.Event(), []

    async def caller() -> int:
        """Call on one connection until that is to be closed; return the last answer's status."""
        one = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=one) as session:
            while True:
                async with session.post("/") as answer:  # a POST: aiohttp would send a GET again
                    assert await answer.json() == "here"
                answered.append(answer.status)
                if len(answered) > 10 * CALLERS:
                    calling.set()
                if answer.headers.get("connection") == "close":
                    return answer.status

    callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
    async with asyncio.timeout(30):
        await calling.wait()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*callers) == [200] * CALLERS
        assert -await process.wait() in {0, signal.SIGTERM}
