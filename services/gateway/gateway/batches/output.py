"""The lines of a batch's output and error files, in OpenAI's format (https://platform.openai.com/docs/guides/batch)."""

from typing import Any

import orjson

from common.contracts.batch_answers_v1 import BatchRow
from common.errors import RUN_ERRORS, RunFailed, TallyrunError
from common.providers import Wire
from gateway import translate
from gateway.batches.batch import Batch
from gateway.batches.results import Result
from gateway.compatible import anthropic_error, openai_error

NO_RESPONSE = {
    "batch_cancelled": "batch_cancelled",
    "batch_expired": "batch_expired",
    "spend_limit": "spend_limit",
    "provider_timeout": "request_timeout",
}
"""Errors that stand for themselves, since no HTTP answer came; a provider that did not answer goes by OpenAI's name."""

CUT, TOO_LARGE = "response_too_large", "the answer was too large to be kept whole"


def has_answer(result: Result) -> bool:
    """Whether the row belongs into the output file: it has an answer, and the answer is whole."""
    return result.status == "succeeded" and result.run is not None and bool(result.run.response)


def line(batch: Batch, result: Result) -> bytes:
    """Return the row's line for the file that it belongs into."""
    run_id = None if result.run is None else str(result.run.run_id)
    told = {"id": f"batch_req_{run_id or result.custom_id}", "custom_id": result.custom_id}
    if has_answer(result) and result.run is not None:
        body = _answer(batch, result.run)
        return _line(told, {"status_code": 200, "request_id": run_id, "body": body}, None)
    code = CUT if result.status == "succeeded" else result.code
    message = result.message or (TOO_LARGE if code == CUT else f"the run {result.status}")
    if code == CUT or code in NO_RESPONSE:
        return _line(told, None, {"code": NO_RESPONSE.get(code or "", code), "message": message})
    error = RUN_ERRORS.get(code or "", RunFailed)(message)
    response = {"status_code": error.status, "request_id": run_id, "body": _error(batch, error, run_id or "")}
    return _line(told, response, None)


def _answer(batch: Batch, run: BatchRow) -> Any:
    if batch.endpoint == "/v1/messages":
        return orjson.loads(run.response or "")
    wire: Wire = "openai" if run.operation == "chat" else "anthropic"
    return translate.answer(wire, run.response or "", created=run.completed_at // 1000)


def _error(batch: Batch, error: TallyrunError, run_id: str) -> dict[str, object]:
    return anthropic_error(error, run_id) if batch.endpoint == "/v1/messages" else openai_error(error)


def _line(told: dict[str, Any], response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    return orjson.dumps({**told, "response": response, "error": error}) + b"\n"
