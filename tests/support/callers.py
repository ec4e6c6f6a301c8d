"""Callers as services have them: each keeps its connection to one replica for as long as that keeps it open."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from common.errors import Overloaded


@dataclass
class Callers:
    """Runs prompts through whichever replica is listed, as through a Kubernetes service; notes what became of each.

    A replica is taken off the list before it is told to stop. Every third run is synchronous, every third has a name
    (an Idempotency-Key), every third is accepted and no more.
    """

    token: str
    prompt: str
    urls: list[str]
    pause: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)
    _numbers: Any = field(default_factory=itertools.count)
    _done: bool = False

    @asynccontextmanager
    async def calling(self, count: int) -> AsyncIterator[None]:
        """Let so many call for as long as the block runs; their last calls are answered at its end."""
        callers = [asyncio.create_task(self._caller()) for _ in range(count)]
        try:
            yield
        finally:
            self._done = True
            await asyncio.gather(*callers)

    async def until_accepted(self, more: int) -> None:
        """Return once so many more runs were accepted."""
        least = len(self.accepted) + more
        async with asyncio.timeout(60):
            while len(self.accepted) < least and not self.failures:
                await asyncio.sleep(0.02)

    async def _caller(self) -> None:
        while not self._done:
            async with aiohttp.ClientSession(self.urls[0], connector=aiohttp.TCPConnector(limit=1)) as session:
                self.urls.append(self.urls.pop(0))
                try:
                    while not self._done and await self._call(session):
                        await asyncio.sleep(self.pause)
                except aiohttp.ClientError as error:
                    self.failures.append(repr(error))

    async def _call(self, session: aiohttp.ClientSession) -> bool:
        """Call once; return whether the connection stays open."""
        number = next(self._numbers)
        kind, headers = _kind(number, self.prompt)
        body = {"provider": "openai", "model": "gpt-4o-mini", "input": f"{self.prompt} {number}"}
        headers["authorization"] = f"Bearer {self.token}"
        began = time.monotonic()
        async with session.post("/api/integrations/run", json=body, headers=headers) as answer:
            told = await answer.json()
        self.latencies.append(time.monotonic() - began)
        self._note(kind, answer.status, told)
        return answer.headers.get("connection") != "close"

    def _note(self, kind: str, status: int, told: Any) -> None:
        self.statuses[f"{kind} {status}"] += 1
        if status in (200, 202):
            self.accepted.add(told["data"]["runId"])
        elif (status, told.get("code")) != (503, Overloaded.code):
            self.failures.append(f"{kind} {status}: {told}")


def _kind(number: int, prompt: str) -> tuple[str, dict[str, str]]:
    kind = ("synchronous", "named", "accepted")[number % 3]
    headers = {} if kind == "synchronous" else {"prefer": "respond-async"}
    return kind, headers | ({"idempotency-key": f"{prompt} {number}"} if kind == "named" else {})
