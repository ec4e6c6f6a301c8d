"""Every row of the error table, from the caller to the provider and back."""

import json
import os
import signal
from typing import Any

import pytest
from tests.stack import Client, Reply, Simulator, Stack, request, until

from tests.conftest import SYNC_WAIT_SECONDS

BODY_LIMIT = 8 * 1024 * 1024


def check(answer: Reply, status: int, code: str, *said: str) -> None:
    """Assert the status, the one shape, the code, and what the message says."""
    assert answer.status == status, answer
    assert answer.body["success"] is False
    assert answer.body["code"] == code, answer
    assert set(answer.body) <= {"success", "error", "code", "runId"}
    for words in said:
        assert words in answer.body["error"], answer


def check_failed_run(client: Client, answer: Reply, status: int, code: str, *said: str) -> Any:
    """Assert the error of a run that was accepted; return the run as it was recorded."""
    check(answer, status, code, *said)
    assert answer.headers["x-should-retry"] == "false"
    run = client.ended(answer.body["runId"])
    assert (run["status"], run["errorCode"]) == ("failed", code)
    return run


def test_a_key_refused_at_connect_is_not_saved(stranger: Client) -> None:
    check(stranger.connect("openai", "refused-key"), 400, "invalid_api_key", "Invalid API key")
    assert stranger.call("GET", "/api/integrations/keys").data == []


def test_a_key_refused_at_run(client: Client, simulator: Simulator, unique: str) -> None:
    simulator.when(unique, kind="invalid_api_key")
    answer = client.run("openai", "gpt-4.1", unique)
    check_failed_run(client, answer, 424, "invalid_api_key", "Invalid API key", "connect")


def test_a_rate_limit_until_the_deadline(client: Client, simulator: Simulator, unique: str) -> None:
    simulator.when(unique, kind="rate_limited", retry_after=2)
    answer = client.run("anthropic", "claude-haiku-4-5", unique)
    run = check_failed_run(client, answer, 429, "rate_limited", "Rate limit exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    assert len(run["attempts"]) >= 2


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-4.1"), ("anthropic", "claude-haiku-4-5")])
def test_no_credit_left(client: Client, simulator: Simulator, unique: str, provider: str, model: str) -> None:
    simulator.when(unique, kind="insufficient_quota")
    answer = client.run(provider, model, unique)
    run = check_failed_run(client, answer, 402, "insufficient_quota", "Insufficient API credits")
    assert len(run["attempts"]) == 1


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_no_active_key(stranger: Client, provider: str) -> None:
    check(stranger.run(provider, "some-model", "Hello"), 409, "no_api_key", provider)


def test_a_deactivated_key_is_used_no_more(client: Client, unique: str) -> None:
    keys = client.call("GET", "/api/integrations/keys").data
    key_id = next(key["id"] for key in keys if key["provider"] == "openai")
    client.run("openai", "gpt-4.1", unique).data  # noqa: B018 - the runner has a lease now
    assert client.call("DELETE", f"/api/integrations/keys/{key_id}").status == 200
    until(lambda: client.run("openai", "gpt-4.1", unique).status == 409, "the lease is dropped", 5)
    keys = client.call("GET", "/api/integrations/keys").data
    assert [key["isActive"] for key in keys if key["provider"] == "openai"] == [False]


def test_a_model_the_provider_does_not_know(client: Client) -> None:
    answer = client.run("anthropic", "missing-model", "Hello")
    check_failed_run(client, answer, 404, "model_not_found", "missing-model")


def test_the_provider_does_not_answer_in_time(client: Client, simulator: Simulator, unique: str) -> None:
    simulator.when(unique, kind="hang")
    answer = client.run("openai", "gpt-4.1", unique)
    run = check_failed_run(client, answer, 504, "provider_timeout", "openai")
    assert {attempt["outcome"] for attempt in run["attempts"]} == {"unknown"}


@pytest.mark.parametrize("kind", ["server_error", "reset"])
def test_the_provider_fails_or_cannot_be_reached(client: Client, simulator: Simulator, unique: str, kind: str) -> None:
    simulator.when(unique, kind=kind, retry_after=0.05)
    answer = client.run("anthropic", "claude-haiku-4-5", unique)
    check_failed_run(client, answer, 502, "provider_unavailable", "anthropic")


def test_a_key_of_an_unreachable_provider_is_not_saved(stranger: Client) -> None:
    check(stranger.connect("dark", "any-key"), 502, "provider_unavailable", "dark")
    assert stranger.call("GET", "/api/integrations/keys").data == []


def test_no_result_within_the_wait_comes_later(client: Client, simulator: Simulator, unique: str) -> None:
    simulator.when(unique, kind="rate_limited", retry_after=SYNC_WAIT_SECONDS - 1, times=1)
    simulator.when(unique, latency_ms=1700)
    answer = client.run("openai", "gpt-4.1", unique)
    check(answer, 504, "still_running", answer.body["runId"])
    assert answer.headers["x-should-retry"] == "false"
    run = client.ended(answer.body["runId"])
    assert run["status"] == "succeeded"
    assert [attempt["statusCode"] for attempt in run["attempts"]] == [429, 200]


RUN, CONNECT, OVERVIEW = "/api/integrations/run", "/api/integrations/connect", "/api/analytics/overview"
GOOD = {"provider": "openai", "model": "gpt-4.1", "input": "Hello"}


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("POST", RUN, b"{", "not valid JSON"),
        ("POST", RUN, {**GOOD, "model": None}, "model"),
        ("POST", RUN, {**GOOD, "input": ""}, "input"),
        ("POST", RUN, {**GOOD, "temperature": "warm"}, "temperature"),
        ("POST", RUN, {**GOOD, "maxTokens": 0}, "maxTokens"),
        ("POST", RUN, {**GOOD, "provider": "nobody"}, "anthropic, dark, openai"),
        ("POST", CONNECT, {"provider": "nobody", "apiKey": "some-key"}, "anthropic, dark, openai"),
        ("POST", CONNECT, {"provider": "openai"}, "apiKey"),
        ("GET", f"{OVERVIEW}?period=2w", None, "'7d', '30d', '90d' or '1y'"),
    ],
)
def test_a_bad_request_names_the_field_and_what_is_allowed(
    client: Client, method: str, path: str, body: Any, said: str
) -> None:
    check(client.call(method, path, body), 422, "invalid_request", said)
    assert client.overview()["overview"]["totalRuns"] == 0


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong-token"}, {"authorization": "Basic abc"}],
    ids=["none", "wrong", "basic"],
)
def test_no_token_or_a_wrong_one(stack: Stack, headers: dict[str, str]) -> None:
    check(request("GET", stack.url + OVERVIEW, headers=headers), 401, "unauthenticated")


def test_a_role_that_is_too_low(client: Client) -> None:
    viewer, member = client.issued("viewer"), client.issued("member")
    check(viewer.run("openai", "gpt-4.1", "Hello"), 403, "forbidden", "member")
    check(member.connect("openai", "another-key"), 403, "forbidden", "admin")
    assert member.run("openai", "gpt-4.1", "Hello").status == 200
    assert viewer.overview()["overview"]["totalRuns"] <= 1


def test_a_body_over_the_limit(client: Client) -> None:
    check(client.run("openai", "gpt-4.1", "x" * BODY_LIMIT), 413, "too_large", str(BODY_LIMIT))


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("GET", "/api/nowhere", 404, "not_found"),
    ("DELETE", RUN, 405, "method_not_allowed"),
])  # fmt: skip
def test_unknown_paths_and_methods_have_the_same_shape(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    check(client.call(method, path), status, code)


def test_a_failed_run_counts_in_the_success_rate(client: Client, simulator: Simulator, unique: str) -> None:
    simulator.when(f"bad {unique}", kind="insufficient_quota")
    for text in ("good", "good", "good", "bad"):
        client.run("openai", "gpt-4.1", f"{text} {unique}")
    totals = client.counted()["overview"]
    assert (totals["totalRuns"], totals["successRate"]) == (4, 75)


def test_a_frozen_broker(client: Client, stack: Stack, unique: str) -> None:
    kafka = stack.pid("kafka")
    os.kill(kafka, signal.SIGSTOP)
    try:
        answer = client.run("openai", "gpt-4.1", unique)
    finally:
        os.kill(kafka, signal.SIGCONT)
    check(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.body["runId"]
    assert answer.headers["x-should-retry"] == "false"
    until(lambda: client.run("openai", "gpt-4.1", f"again {unique}").status == 200, "runs are accepted again")


def test_no_key_is_ever_written_to_a_log(stack: Stack, stranger: Client, unique: str) -> None:
    secret = f"canary-{unique}"
    stranger.connect("openai", secret)
    stranger.run("openai", "gpt-4.1", unique)
    written = [path for path in stack.home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert written == []
    assert secret not in json.dumps(stranger.call("GET", "/api/integrations/keys").body)
