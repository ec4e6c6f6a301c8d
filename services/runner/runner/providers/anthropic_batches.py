"""Anthropic's message batches (https://docs.anthropic.com/en/docs/build-with-claude/batch-processing)."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
from pydantic import SecretStr
from pydantic_core import to_json

from common.contracts.provider_batches_v1 import Standing
from runner.providers.answer import Answer, CallFailed
from runner.providers.batching import (
    FOUND_LATE_MS,
    AtPath,
    Caller,
    Reading,
    Results,
    RowEnd,
    Sent,
    Unserved,
    millis,
    sized,
)
from runner.providers.failures import Callee, refusal
from runner.usage import text

BATCHES = "/messages/batches"
CREATE_SECONDS = 290.0
"""Less than `SUBMIT_MS`: the rows travel with it."""

STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "timeout_error": 504,
    "overloaded_error": 529,
}  # fmt: skip
"""The status that an error has where it answers a call: https://docs.anthropic.com/en/api/errors."""

UNSERVED: Mapping[str, Unserved] = {"expired": "expired", "canceled": "cancelled"}
UNTOLD = 500


class AnthropicBatches(AtPath):
    """A batch carries no mark: it is known by its time, its size and, once it has ended, the ids of its rows."""

    def __init__(self, caller: Caller, read: Reading) -> None:
        super().__init__(caller, read, BATCHES, _standing)

    async def submit(self, sent: Sent, secret: SecretStr) -> Standing:
        """Make a batch of the part."""
        content = await sized(lambda: _requests(sent))
        return _standing(await self._caller.create(BATCHES, secret, CREATE_SECONDS, **content))

    async def find(self, sent: Sent, secret: SecretStr) -> Standing:
        """Look through the batches of this size that were made since then; one that goes on may be it, or not."""
        certain = True
        async for batch in self._caller.pages(BATCHES, "after_id", secret):
            if (millis(batch.get("created_at")) or 0) < sent.since - FOUND_LATE_MS:
                break
            if _size(batch) != sent.rows:
                continue
            standing = _standing(batch)
            if standing.ended_at is None or not batch.get("results_url"):
                certain = False
            elif await self._is(sent, standing.provider_batch or "", secret):
                return standing
        return Standing(certain=certain)

    async def results(self, batch_id: str, secret: SecretStr) -> Results:
        """Read the results."""
        return Results(self._ends(batch_id, secret), "unknown")

    async def _ends(self, batch_id: str, secret: SecretStr) -> AsyncIterator[RowEnd]:
        callee = self._caller.callee(secret)
        async for line in self._caller.download(f"{BATCHES}/{batch_id}/results", secret):
            if custom_id := text(line, "custom_id"):
                yield RowEnd(custom_id, _end(line.get("result"), callee, self._read))

    async def _is(self, sent: Sent, batch_id: str, secret: SecretStr) -> bool:
        """Whether the rows of an ended batch are the part's: their ids are nobody else's, so that one tells."""
        async for line in self._caller.download(f"{BATCHES}/{batch_id}/results", secret):
            return any([row.run_id.hex == line.get("custom_id") async for row in sent.lines()])
        return False


async def _requests(sent: Sent) -> AsyncIterator[bytes]:
    before = b'{"requests":['
    async for line in sent.lines():
        yield before + to_json({"custom_id": line.run_id.hex, "params": line.body})
        before = b","
    yield b"]}"


def _standing(batch: Mapping[str, Any]) -> Standing:
    """Return how a batch stands. Its counts say nothing before its end, so none are told until then."""
    status, counts = text(batch, "processing_status") or "", _counts(batch)
    ended = status == "ended"
    return Standing(
        provider_batch=text(batch, "id"),
        state=status,
        completed=counts.get("succeeded", 0) if ended else None,
        failed=sum(counts.get(kind, 0) for kind in ("errored", "canceled", "expired")) if ended else None,
        ended_at=millis(batch.get("ended_at")) or millis(batch.get("created_at")) if ended else None,
    )


def _counts(batch: Mapping[str, Any]) -> dict[str, int]:
    counts = batch.get("request_counts")
    return {name: count for name, count in counts.items() if isinstance(count, int)} if isinstance(counts, dict) else {}


def _size(batch: Mapping[str, Any]) -> int:
    return sum(_counts(batch).values())


def _end(result: object, callee: Callee, read: Reading) -> Answer | CallFailed | Unserved:
    told: Mapping[str, Any] = result if isinstance(result, dict) else {}
    kind = text(told, "type") or ""
    try:
        if kind == "succeeded":
            return read(httpx2.Response(200, content=to_json(told.get("message"))), callee)
        if kind == "errored":
            return _failure(told.get("error"), callee)
    except CallFailed as failed:
        return failed
    return UNSERVED.get(kind, "unknown")


def _failure(error: object, callee: Callee) -> CallFailed:
    inner = error.get("error", error) if isinstance(error, dict) else error
    kind = text(inner, "type") if isinstance(inner, dict) else None
    return refusal(httpx2.Response(STATUS.get(kind or "", UNTOLD), content=to_json({"error": inner})), callee)
