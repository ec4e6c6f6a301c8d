"""What clients made for other providers expect around every answer under `/v1`: their error shapes, and request ids."""

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import Conflict, IdempotencyConflict, InsufficientQuota, TallyrunError
from common.http import error_headers, error_response, json_response
from common.ids import new_id
from gateway.results import OVERLOADED, ProviderOverloaded

SURFACE = "/v1/"
LONGEST_WAIT = 120
"""Seconds: the official OpenAI client waits no longer than this."""

OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
"""By status: https://platform.openai.com/docs/guides/error-codes"""

NOT_CURED_BY_RETRYING = (InsufficientQuota, IdempotencyConflict, Conflict)
"""Of a status that both official clients try again."""

ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""By status: https://docs.anthropic.com/en/api/errors"""


def compatible(scope: Scope) -> bool:
    """Whether the request is for a surface that is not our own."""
    path: str = scope["path"]
    return path.startswith(SURFACE)


def answer_error(scope: Scope, error: TallyrunError) -> Response:
    """Answer an error in the shape of the surface that the request's path belongs to."""
    if not compatible(scope):
        return error_response(error)
    request_id = error.run_id or _fresh()
    if speaks_anthropic(scope):
        return _answer(error, _anthropic_status(error), request_id, anthropic_error(error, request_id))
    return _answer(error, _openai_status(error), request_id, openai_error(error))


def speaks_anthropic(scope: Scope) -> bool:
    """Whether the request is of an Anthropic client: by its path, or by the header that those always send."""
    path: str = scope["path"]
    return path.startswith("/v1/messages") or "anthropic-version" in Headers(scope=scope)


def openai_error(error: TallyrunError) -> dict[str, object]:
    """Return the body of an error as OpenAI writes it; in a stream it is an event of its own."""
    said = {"message": error.message, "type": _openai_type(error), "param": error.param, "code": error.code}
    return {"error": said}


def anthropic_error(error: TallyrunError, request_id: str) -> dict[str, object]:
    """Return the body of an error as Anthropic writes it; in a stream it is an event of its own."""
    said = {"type": _anthropic_type(error), "message": error.message}
    return {"type": "error", "error": said, "request_id": request_id}


def request_headers(request_id: str) -> dict[str, str]:
    """Return the id of a request as both official clients look for it; a run's request has the run's id."""
    return {"x-request-id": request_id, "request-id": request_id}


class RequestIds:
    """Gives every answer under `/v1` a request id, unless it has one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the answer back with its id."""
        if scope["type"] != "http" or not compatible(scope):
            return await self._app(scope, receive, send)

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start" and b"x-request-id" not in dict(message["headers"]):
                added = request_headers(_fresh())
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in added.items())]
            await send(message)

        return await self._app(scope, receive, identified)


def _answer(error: TallyrunError, status: int, request_id: str, body: dict[str, object]) -> Response:
    headers = {**error_headers(error), **request_headers(request_id)}
    if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
        del headers["retry-after"]
    if isinstance(error, NOT_CURED_BY_RETRYING):
        headers["x-should-retry"] = "false"
    return json_response(orjson.dumps(body), status, headers)


def _openai_status(error: TallyrunError) -> int:
    """OpenAI answers an empty account with 429, which its client raises as `RateLimitError`."""
    return 429 if isinstance(error, InsufficientQuota) else error.status


def _openai_type(error: TallyrunError) -> str:
    if isinstance(error, InsufficientQuota):
        return error.code
    return OPENAI_TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")


def _anthropic_status(error: TallyrunError) -> int:
    return OVERLOADED if isinstance(error, ProviderOverloaded) else error.status


def _anthropic_type(error: TallyrunError) -> str:
    status = _anthropic_status(error)
    return ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


def _fresh() -> str:
    return str(new_id())
