"""An open loop: requests are sent when they are due, whether or not those before them were answered."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles
from typing import Any
from urllib.parse import urlsplit

TICK_SECONDS = 0.005
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Answered:
    """What came of a request; `seconds` since it was due."""

    status: int
    headers: dict[str, str]
    body: Any
    seconds: float


class Connection(asyncio.Protocol):
    """One request at a time, in few microseconds: the flood must not be what is slow."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, dict[str, str], bytes]] | None = None
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("without an answer"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found or self._answer is None:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"])
        if len(rest) >= length:
            self._buffer = rest[length:]
            self._answer.set_result((int(first.split()[1]), headers, rest[:length]))

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await asyncio.wait_for(self._answer, ANSWER_SECONDS)

    def close(self) -> None:
        self._transport.close()


class Flood:
    """Sends requests to one server over as many connections as it takes."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname or "", urlsplit(url).port or 0
        self._free: list[Connection] = []
        self.answers: list[Answered] = []

    async def open_loop(self, next_request: Callable[[], bytes], rate: float, seconds: float) -> None:
        """Send at this rate for so long; return once everything is answered."""
        began, sent, under_way = time.monotonic(), 0, set[asyncio.Task[None]]()
        while (now := time.monotonic()) < began + seconds:
            for _ in range(int((now - began) * rate) - sent):
                task = asyncio.create_task(self._send(next_request(), began + sent / rate))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                sent += 1
            await asyncio.sleep(TICK_SECONDS)
        await asyncio.gather(*under_way)

    async def closed_loop(self, next_request: Callable[[], bytes], callers: int, seconds: float) -> float:
        """Let so many callers send one request after the other; return how many a second were answered."""
        end, before = time.monotonic() + seconds, len(self.answers)

        async def caller() -> None:
            while (now := time.monotonic()) < end:
                await self._send(next_request(), now)

        await asyncio.gather(*(caller() for _ in range(callers)))
        return (len(self.answers) - before) / seconds

    async def burst(self, next_request: Callable[[], bytes], count: int) -> None:
        """Open so many connections, then send on all of them at once; return once everything is answered."""
        self._free += [await self._opened() for _ in range(count)]
        await asyncio.gather(*(self._send(next_request(), time.monotonic()) for _ in range(count)))

    def close(self) -> None:
        """Close every connection."""
        for connection in self._free:
            connection.close()

    def statuses(self) -> Counter[int]:
        """Count the answers by their status."""
        return Counter(answer.status for answer in self.answers)

    def percentile(self, percent: int) -> float:
        """Return how long that share of the answers took at most, in seconds."""
        return quantiles([answer.seconds for answer in self.answers], n=100)[percent - 1]

    async def _send(self, request: bytes, due: float) -> None:
        connection = await self._connection()
        status, headers, body = await connection.ask(request)
        self.answers.append(Answered(status, headers, json.loads(body), time.monotonic() - due))
        if connection.open and headers.get("connection") != "close":
            self._free.append(connection)

    async def _connection(self) -> Connection:
        while self._free:
            if (connection := self._free.pop()).open:
                return connection
        return await self._opened()

    async def _opened(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        return connection


def post(path: str, token: str, body: Any, **headers: str) -> bytes:
    """Return a request as it is written."""
    content = json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"host": "test", "authorization": f"Bearer {token}", "content-length": str(len(content)), **named}
    head = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""]
    return "\r\n".join(head).encode() + content
