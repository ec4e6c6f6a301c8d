"""Every row of the error table, and the one shape."""

import json
from collections.abc import AsyncIterator, Sequence

from services.gateway.tests.conftest import PROMPT, Body, Gateway, PlayedRunner, completed, error_of

from common.contracts.runs_v1 import RunError
from common.contracts.topics import MAX_BODY_BYTES
from common.ids import now_ms

RUN = "/api/integrations/run"


FAILURES = [
        ("invalid_api_key", 424), ("rate_limited", 429), ("insufficient_quota", 402), ("no_api_key", 409),
        ("api_key_expired", 424),
        ("model_not_found", 404), ("provider_timeout", 504), ("provider_unavailable", 502),
        ("provider_rejected", 400), ("grant_refused", 403), ("deadline_exceeded", 504), ("runner_fault", 500),
        ("batch_cancelled", 409),
        ("a code of the future", 502),
]  # fmt: skip


def failing(runner: PlayedRunner, error: RunError) -> None:
    """Let every run end with this error."""
    runner.script = lambda request: completed(request, status="failed", output=None, error=error)


async def test_a_failed_run(gateway: Gateway, runner: PlayedRunner) -> None:
    for code, status in FAILURES:
        failing(runner, RunError(code=code, message=f"about {code}"))
        answer = await gateway.run()
        body = answer.json()
        assert (answer.status_code, body["error"]) == (status, f"about {code}")
        assert body["code"] == (code if " " not in code else "run_failed")
        assert body["runId"] == str(runner.requests[-1].run_id)
        assert answer.headers["x-should-retry"] == "false"
        assert ("retry-after" in answer.headers) == (code == "rate_limited")


async def test_rate_limited_says_when(gateway: Gateway, runner: PlayedRunner) -> None:
    cases: list[tuple[int | None, Sequence[int]]] = [(90_000, range(80, 91)), (-5, [1]), (None, [10])]
    for retry_in_ms, seconds in cases:
        retry_at = None if retry_in_ms is None else now_ms() + retry_in_ms
        failing(runner, RunError(code="rate_limited", message="Rate limit exceeded", retry_at=retry_at))
        assert int((await gateway.run()).headers["retry-after"]) in seconds


async def test_an_expired_run_without_an_error_says_so(gateway: Gateway, runner: PlayedRunner) -> None:
    runner.script = lambda request: completed(request, status="expired")
    assert error_of(await gateway.run()) == (502, "run_failed")


BAD_BODIES: list[tuple[Body, str]] = [
        ({"provider": "nobody"}, "openai"), ({"provider": None}, "provider"), ({"model": ""}, "model"),
        ({"input": None}, "'input' and 'messages'"), ({"messages": [{"role": "user"}]}, "'input' and 'messages'"),
        ({"input": None, "messages": []}, "messages"), ({"input": None, "messages": ["text"]}, "messages"),
        ({"temperature": 2.5}, "temperature"), ({"maxTokens": 0}, "maxTokens"), ({"max_tokens": 5}, "max_tokens"),
        ({"labels": {"": "x"}}, "labels"), ({"labels": {"x": 1}}, "labels.x"), ({"stream": True}, "stream"),
        ({"promptId": "p" * 257}, "promptId"), ({"model": "m" * 257}, "model"),
]  # fmt: skip


async def test_a_bad_body_names_the_field(gateway: Gateway) -> None:
    for changed, said in BAD_BODIES:
        answer = await gateway.run(**changed)
        assert error_of(answer) == (422, "invalid_request"), changed
        assert said in answer.json()["error"], changed
        assert "runId" not in answer.json()


async def test_not_json(gateway: Gateway) -> None:
    for content in (b"", b"{", b"nothing", b'{"input": "\\ud800"}', b'{"input": "\xff"}'):
        answer = await gateway.http.post(RUN, content=content, headers={"content-type": "application/json"})
        assert error_of(answer) == (422, "invalid_request"), content
        assert "not valid JSON" in answer.json()["error"], content


async def test_not_an_object(gateway: Gateway) -> None:
    for content in (b"[]", b"null", b'"text"'):
        assert error_of(await gateway.http.post(RUN, content=content)) == (422, "invalid_request"), content


async def test_too_large_by_its_length(gateway: Gateway) -> None:
    answer = await gateway.run(input="x" * MAX_BODY_BYTES)
    assert error_of(answer) == (413, "too_large")
    assert str(MAX_BODY_BYTES) in answer.json()["error"]


async def test_too_large_without_a_length(gateway: Gateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * 1024 * 1024

    assert error_of(await gateway.http.post(RUN, content=chunks())) == (413, "too_large")


async def test_too_large_once_it_is_written_out(gateway: Gateway) -> None:
    numbers = ",".join(["1e15"] * 1_000_000)  # 1000000000000000.0 in the event
    content = f'{{"provider": "openai", "model": "m", "messages": [{{"n": [{numbers}]}}]}}'
    assert len(content) < MAX_BODY_BYTES
    assert error_of(await gateway.http.post(RUN, content=content)) == (413, "too_large")


async def test_a_large_prompt_goes_through(gateway: Gateway, runner: PlayedRunner) -> None:
    text = "é" * (MAX_BODY_BYTES // 2 - 200)
    answer = await gateway.http.post(RUN, content=json.dumps({**PROMPT, "input": text}, ensure_ascii=False))
    assert answer.status_code == 200, answer.text
    assert runner.requests[0].body["messages"][0]["content"] == text


ODD_CALLS = [
        ("GET", "/nowhere", (404, "not_found")), ("POST", "/api/analytics/nowhere", (404, "not_found")),
        ("GET", RUN, (405, "method_not_allowed")), ("PUT", "/api/tokens", (405, "method_not_allowed")),
        ("DELETE", "/api/integrations/connect", (405, "method_not_allowed")),
        ("GET", "/api/runs/not-an-id", (422, "invalid_request")),
        ("GET", "/api/runs?limit=0", (422, "invalid_request")),
        ("GET", "/api/runs?status=lost", (422, "invalid_request")),
        ("DELETE", "/api/integrations/keys/x", (422, "invalid_request")),
]  # fmt: skip


async def test_one_shape(gateway: Gateway) -> None:
    for method, path, expected in ODD_CALLS:
        assert error_of(await gateway.http.request(method, path)) == expected, (method, path)
