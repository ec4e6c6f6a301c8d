"""OpenAI's batches (https://platform.openai.com/docs/guides/batch): a file in, an output and an error file out."""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import httpx2
from pydantic import SecretStr
from pydantic_core import to_json

from common.contracts.provider_batches_v1 import Standing
from common.contracts.runs_v1 import RunError
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

PART = "tallyrun_part"
"""The batch's metadata by which it is found again."""

ENDPOINT = "/v1/chat/completions"
UPLOAD_SECONDS, CREATE_SECONDS = 230.0, 60.0
"""Together less than `SUBMIT_MS`."""

ENDED: Mapping[str, str] = {
    "completed": "completed_at", "failed": "failed_at", "expired": "expired_at", "cancelled": "cancelled_at",
}  # fmt: skip
FULL = "token_limit_exceeded"
"""Too much is enqueued: the batch can be made once others have ended."""

UNSERVED: Mapping[str, Unserved] = {"batch_expired": "expired", "batch_cancelled": "cancelled"}


class OpenAIBatches(AtPath):
    """A batch carries its part's id in its metadata."""

    def __init__(self, caller: Caller, read: Reading) -> None:
        super().__init__(caller, read, "/batches", _standing)

    async def submit(self, sent: Sent, secret: SecretStr) -> Standing:
        """Upload the part, and make a batch of it."""
        try:
            file = await self._uploaded(sent, secret)
        except CallFailed as failed:
            failed.outcome_known = True  # a file alone costs nothing
            raise
        batch = {"input_file_id": file, "endpoint": ENDPOINT, "completion_window": "24h"}
        content = to_json({**batch, "metadata": {PART: str(sent.id)}})
        return _standing(await self._caller.create("/batches", secret, CREATE_SECONDS, content=content))

    async def find(self, sent: Sent, secret: SecretStr) -> Standing:
        """Look through the batches that were made since then."""
        async for batch in self._caller.pages("/batches", "after", secret):
            if (batch.get("metadata") or {}).get(PART) == str(sent.id):
                return _standing(batch)
            if (millis(batch.get("created_at")) or 0) < sent.since - FOUND_LATE_MS:
                break
        return Standing()

    async def results(self, batch_id: str, secret: SecretStr) -> Results:
        """Read the output file, then the error file."""
        batch = await self._caller.ask("GET", f"/batches/{batch_id}", secret)
        status = batch.get("status")
        rest: Unserved = "expired" if status == "expired" else "cancelled" if status == "cancelled" else "unknown"
        files = [text(batch, name) for name in ("output_file_id", "error_file_id")]
        return Results(self._ends([file for file in files if file], secret), rest)

    async def _ends(self, files: list[str], secret: SecretStr) -> AsyncIterator[RowEnd]:
        callee = self._caller.callee(secret)
        for file in files:
            async for line in self._caller.download(f"/files/{file}/content", secret):
                if custom_id := text(line, "custom_id"):
                    yield RowEnd(custom_id, _end(line, callee, self._read))

    async def _uploaded(self, sent: Sent, secret: SecretStr) -> str:
        boundary = uuid4().hex
        content = await sized(lambda: _form(sent, boundary))
        content["headers"]["Content-Type"] = f"multipart/form-data; boundary={boundary}"
        told = await self._caller.ask("POST", "/files", secret, UPLOAD_SECONDS, **content)
        if (file := text(told, "id")) is None:
            raise CallFailed("provider_unavailable", "the provider took a file and told no id of it", retryable=True)
        return file


async def _form(sent: Sent, boundary: str) -> AsyncIterator[bytes]:
    disposition = 'Content-Disposition: form-data; name="'
    yield f'--{boundary}\r\n{disposition}purpose"\r\n\r\nbatch\r\n--{boundary}\r\n'.encode()
    yield f'{disposition}file"; filename="{sent.id}.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n'.encode()
    async for line in sent.lines():
        request = {"custom_id": line.run_id.hex, "method": "POST", "url": ENDPOINT, "body": line.body}
        yield to_json(request) + b"\n"
    yield f"\r\n--{boundary}--\r\n".encode()


def _standing(batch: Mapping[str, Any]) -> Standing:
    status, counts = text(batch, "status") or "", batch.get("request_counts")
    counted: Mapping[str, Any] = counts if isinstance(counts, dict) else {}
    ended = millis(batch.get(ENDED[status])) or millis(batch.get("created_at")) if status in ENDED else None
    return Standing(
        provider_batch=text(batch, "id"),
        state=status,
        completed=counted.get("completed"),
        failed=counted.get("failed"),
        ended_at=ended,
        fault=_fault(batch) if status == "failed" else None,
    )


def _fault(batch: Mapping[str, Any]) -> RunError:
    """Return why the batch was not begun."""
    errors = batch.get("errors")
    listed = (errors.get("data") if isinstance(errors, dict) else None) or []
    said = "; ".join(str(error.get("message", "")) for error in listed[:3]) or "it does not say why"
    full = any(error.get("code") == FULL for error in listed)
    return RunError(code="not_served" if full else "provider_rejected", message=f"the batch was refused: {said}"[:500])


def _end(line: Mapping[str, Any], callee: Callee, read: Reading) -> Answer | CallFailed | Unserved:
    error, told = line.get("error"), line.get("response")
    if isinstance(error, dict):
        code, said = text(error, "code") or "", text(error, "message") or ""
        return UNSERVED.get(code) or CallFailed("provider_unavailable", f"{code}: {said}"[:500], retryable=True)
    if not isinstance(told, dict):
        return "unknown"
    response = httpx2.Response(int(told.get("status_code") or 0), content=to_json(told.get("body")))
    try:
        return read(response, callee) if response.is_success else refusal(response, callee)
    except CallFailed as failed:
        return failed
