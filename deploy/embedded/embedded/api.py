"""The gateway's API, as the demo uses it: money stays exact."""

import json
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import aiohttp

TIMEOUT_SECONDS = 60


class RefusedError(Exception):
    """The gateway answered with an error."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(f"{body.get('error')} ({body.get('code')})")
        self.body = body


class Api:
    """A connection to the gateway with one token. Numbers with a fraction are `Decimal`."""

    def __init__(self, url: str, token: str) -> None:
        self._session = aiohttp.ClientSession(
            url, headers={"authorization": f"Bearer {token}"}, timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def connect(self, provider: str, api_key: str) -> None:
        """Connect a provider key."""
        await self._call("POST", "/api/integrations/connect", {"provider": provider, "apiKey": api_key})

    async def run(self, body: dict[str, object]) -> dict[str, Any]:
        """Carry out one run and return its data."""
        answer = await self._call("POST", "/api/integrations/run", body)
        return dict(answer["data"])

    async def overview(self, period: str) -> dict[str, Any]:
        """Return the overview's data."""
        answer = await self._call("GET", f"/api/analytics/overview?period={period}")
        return dict(answer["data"])

    async def _call(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        async with self._session.request(method, path, json=body) as answer:
            content: dict[str, Any] = json.loads(await answer.read(), parse_float=Decimal)
        if not content.get("success"):
            raise RefusedError(content)
        return content
