"""Every error under /v1 is in the shape of its surface, wherever it comes about."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2
from fastapi import FastAPI
from services.gateway.tests.conftest import Gateway, error_of
from starlette.types import Scope

from common.contracts.topics import MAX_BODY_BYTES
from common.errors import (
    IdempotencyConflict,
    InsufficientQuota,
    InvalidRequest,
    RateLimited,
    StillRunning,
    TallyrunError,
    Unavailable,
)
from common.http import service_app
from gateway.compatible import answer_error


def openai(answer: httpx2.Response) -> dict[str, Any]:
    """Return the error of an answer in OpenAI's shape."""
    assert answer.headers["x-request-id"]
    body: dict[str, Any] = answer.json()
    assert list(body) == ["error"], body
    assert list(body["error"]) == ["message", "type", "param", "code"]
    return body["error"]  # type: ignore[no-any-return]


def anthropic(answer: httpx2.Response) -> dict[str, Any]:
    """Return the error of an answer in Anthropic's shape."""
    body: dict[str, Any] = answer.json()
    assert list(body) == ["type", "error", "request_id"], body
    assert body["type"] == "error"
    assert body["request_id"] == answer.headers["request-id"]
    return body["error"]  # type: ignore[no-any-return]


async def test_errors_before_and_by_routing(gateway: Gateway) -> None:
    stranger = {"authorization": "Bearer nothing"}
    large = {"content-length": str(MAX_BODY_BYTES + 1)}
    for surface, path in ((openai, "/v1/chat/completions"), (anthropic, "/v1/messages")):
        for method, where, headers, status in [
            ("POST", path + "/nowhere", {}, 404),
            ("GET", path, {}, 405),
            ("POST", path, large, 413),
            ("POST", path, stranger, 401),
            ("POST", path, {}, 422),
        ]:
            answer = await gateway.http.request(method, where, headers=headers, content=b"{")
            assert answer.status_code == status, (where, status)
            assert surface(answer)["message"]
    assert openai(await gateway.http.get("/v1/nothing"))["code"] == "not_found"
    assert anthropic(await gateway.http.get("/v1/nothing", headers={"anthropic-version": "2023-06-01"}))
    assert error_of(await gateway.http.get("/v2/nothing")) == (404, "not_found")


def answered(error: TallyrunError, path: str = "/v1/chat/completions") -> httpx2.Response:
    scope: Scope = {"type": "http", "path": path, "headers": []}
    answer = answer_error(scope, error)
    return httpx2.Response(answer.status_code, headers=dict(answer.headers), content=bytes(answer.body))


async def test_what_a_client_may_try_again() -> None:
    run_id = str(UUID(int=7))
    for error, status, after, again in [
        (RateLimited("m", retry_after=90, run_id=run_id), 429, "90", "false"),
        (RateLimited("m", retry_after=121, run_id=run_id), 429, None, "false"),
        (Unavailable("m", retry_after=5), 503, "5", None),
        (InsufficientQuota("m"), 429, None, "false"),
        (IdempotencyConflict("m"), 409, None, "false"),
        (StillRunning("m", run_id=run_id), 504, None, "false"),
    ]:
        answer = answered(error)
        assert answer.status_code == status
        assert answer.headers.get("retry-after") == after
        assert answer.headers.get("x-should-retry") == again
        if error.run_id:
            assert answer.headers["x-request-id"] == run_id
        assert openai(answer)["code"] == error.code


def test_types_by_surface() -> None:
    assert openai(answered(InsufficientQuota("m")))["type"] == "insufficient_quota"
    assert openai(answered(InvalidRequest("n: m", param="n"))) == {
        "message": "n: m", "type": "invalid_request_error", "param": "n", "code": "invalid_request",
    }  # fmt: skip
    assert anthropic(answered(InsufficientQuota("m"), "/v1/messages"))["type"] == "billing_error"
    assert anthropic(answered(TallyrunError("m"), "/v1/messages"))["type"] == "api_error"


async def test_every_answer_has_an_id(gateway: Gateway) -> None:
    answer = await gateway.http.get("/v1/models")
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])
    assert answer.headers["x-request-id"] == answer.headers["request-id"]
    assert "x-request-id" not in (await gateway.http.get("/api/tokens")).headers


async def test_a_fault_of_ours_has_the_shape_too() -> None:
    @asynccontextmanager
    async def nothing(_: FastAPI) -> AsyncIterator[None]:
        yield

    async def ready() -> None:
        return None

    app = service_app("broken", nothing, ready, 100, answer=answer_error)

    @app.get("/v1/{path:path}")
    async def broken(path: str) -> None:
        raise ZeroDivisionError(path)

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as http:
        answer = await http.get("/v1/models")
        assert (answer.status_code, openai(answer)["code"]) == (500, "internal_error")
        assert anthropic(await http.get("/v1/messages"))["type"] == "api_error"
