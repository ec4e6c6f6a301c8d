"""A provider's own batches, whatever its wire format: what goes in, what comes out, over the provider's connections."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import httpx2
from pydantic import SecretStr

from common.contracts.provider_batches_v1 import PartLine, Standing
from common.jsonl import lines
from runner.providers.answer import Answer, CallFailed
from runner.providers.connections import bearer, timeouts
from runner.providers.failures import Callee, check_key, json_object, reach, refusal

ASK_SECONDS = 30.0
"""For an answer that is small on both sides."""

READ_SECONDS = 60.0
"""Between two pieces of a large answer."""

SENT_BYTES = 256 * 1024
"""About so many go out at a time, however short the lines are."""

FOUND_LATE_MS = 120_000
"""How far a provider's clock may differ from ours, when batches are looked for by when they were made."""

Unserved = Literal["expired", "cancelled", "unknown"]
"""Why a row has no answer; unknown: the provider does not say."""


@dataclass(frozen=True)
class RowEnd:
    """How one row ended, by the id that it was sent under."""

    custom_id: str
    end: Answer | CallFailed | Unserved


@dataclass(frozen=True)
class Results:
    """Every row that the provider tells of, in any order; `rest`: what became of the others."""

    ends: AsyncIterator[RowEnd]
    rest: Unserved


@dataclass(frozen=True)
class Sent:
    """A part on its way: `lines` reads it from its beginning, whenever it is called; `since` in UTC ms."""

    id: UUID
    rows: int
    lines: Callable[[], AsyncIterator[PartLine]]
    since: int = 0


Reading = Callable[[httpx2.Response, Callee], Answer]
"""Reads an answer as if it had come to a call of its own, or raises `CallFailed`."""


class ProviderBatches(Protocol):
    """One provider's batch endpoint. Raises `CallFailed`; nothing is tried twice."""

    async def submit(self, sent: Sent, secret: SecretStr) -> Standing:
        """Make a batch of the part. `outcome_known` is False where it may have been made without our hearing of it."""

    async def find(self, sent: Sent, secret: SecretStr) -> Standing:
        """Find the batch that was made of the part, if one was."""

    async def look(self, batch_id: str, secret: SecretStr) -> Standing:
        """Return how a batch stands."""

    async def cancel(self, batch_id: str, secret: SecretStr) -> Standing:
        """Ask for its end."""

    async def results(self, batch_id: str, secret: SecretStr) -> Results:
        """Return the rows' ends of a batch that has ended."""


class Caller:
    """Sends requests about batches under a tenant's key."""

    def __init__(self, name: str, url: str, http: httpx2.AsyncClient) -> None:
        self._name = name
        self._url = url
        self._http = http

    def callee(self, secret: SecretStr, model: str = "") -> Callee:
        """Return whom failures name."""
        return Callee(self._name, model, secret)

    async def ask(
        self, method: str, path: str, secret: SecretStr, seconds: float = ASK_SECONDS, **content: Any
    ) -> dict[str, Any]:
        """Return the JSON object that is answered."""
        callee = self.callee(secret)
        check_key(callee)
        headers = {**bearer(secret), **content.pop("headers", {})}
        sending = self._http.request(
            method, f"{self._url}{path}", headers=headers, timeout=timeouts(seconds), **content
        )
        return json_object(callee.said(await reach(sending, callee, seconds)))

    async def create(
        self, path: str, secret: SecretStr, seconds: float, headers: Mapping[str, str] | None = None, **content: Any
    ) -> dict[str, Any]:
        """Make a batch and return it. A failure says whether it may have been made all the same."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        try:
            return await self.ask("POST", path, secret, seconds, headers=sent, **content)
        except CallFailed as failed:
            unheard = as_unknown(failed)
        raise unheard

    async def cancel(self, path: str, secret: SecretStr) -> None:
        """Ask for a batch's end; one that has ended stays as it is."""
        try:
            await self.ask("POST", f"{path}/cancel", secret)
        except CallFailed as failed:
            if failed.status_code not in {400, 409}:
                raise

    async def pages(self, path: str, after: str, secret: SecretStr) -> AsyncIterator[dict[str, Any]]:
        """Yield what is listed, newest first; `after` names the parameter that goes on."""
        asked = "limit=100"
        while True:
            page = await self.ask("GET", f"{path}?{asked}", secret)
            listed = [one for one in page.get("data") or [] if isinstance(one, dict)]
            for one in listed:
                yield one
            if not page.get("has_more") or not listed:
                return
            asked = f"limit=100&{after}={listed[-1].get('id')}"

    async def download(self, path: str, secret: SecretStr) -> AsyncIterator[dict[str, Any]]:
        """Yield the JSON objects of a file of lines."""
        callee = self.callee(secret)
        request = self._http.build_request(
            "GET", f"{self._url}{path}", headers=bearer(secret), timeout=timeouts(READ_SECONDS)
        )
        response = await reach(self._begun(request, callee), callee, READ_SECONDS)
        try:
            async for line in lines(response.aiter_bytes()):
                yield json_object(callee.hide(line.decode(errors="replace")))
        except (httpx2.HTTPError, OSError):
            failed = CallFailed("provider_unavailable", f"{self._name} broke its results off", retryable=True)
        else:
            return
        finally:
            await response.aclose()
        raise failed

    async def _begun(self, request: httpx2.Request, callee: Callee) -> httpx2.Response:
        response = await self._http.send(request, stream=True)
        if not response.is_success:
            await response.aread()
            raise refusal(response, callee)
        return response


class AtPath:
    """A batch endpoint of which each batch is looked at, and cancelled, under its id."""

    def __init__(
        self, caller: Caller, read: Reading, path: str, standing: Callable[[dict[str, Any]], Standing]
    ) -> None:
        self._caller = caller
        self._read = read
        self._path = path
        self._standing = standing

    async def look(self, batch_id: str, secret: SecretStr) -> Standing:
        """Return how a batch stands."""
        return self._standing(await self._caller.ask("GET", f"{self._path}/{batch_id}", secret))

    async def cancel(self, batch_id: str, secret: SecretStr) -> Standing:
        """Ask for its end, and look."""
        await self._caller.cancel(f"{self._path}/{batch_id}", secret)
        return await self.look(batch_id, secret)


async def sized(pieces: Callable[[], AsyncIterator[bytes]]) -> dict[str, Any]:
    """Return content that is streamed, its length known before: some servers take no other."""
    size = 0
    async for piece in pieces():
        size += len(piece)
    return {"content": _joined(pieces()), "headers": {"Content-Length": str(size)}}


async def _joined(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        if len(waiting) >= SENT_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def as_unknown(failed: CallFailed) -> CallFailed:
    """Return the failure of what may have been made all the same: a 5xx says nothing about that."""
    known = failed.outcome_known and (failed.status_code or 0) < 500
    return CallFailed(
        failed.code,
        failed.message,
        status_code=failed.status_code,
        retryable=failed.retryable and known,
        retry_after=failed.retry_after,
        outcome_known=known,
    )


def millis(told: object) -> int | None:
    """Return a time in UTC ms: told in Unix seconds, or as RFC 3339 has it."""
    if isinstance(told, int | float):
        return round(told * 1000)
    if not isinstance(told, str):
        return None
    try:
        return round(datetime.fromisoformat(told).timestamp() * 1000)
    except ValueError:
        return None
