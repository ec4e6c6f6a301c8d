"""What analytics answers reaches the caller byte for byte, about the caller's workspace alone."""

import json
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from services.gateway.tests.conftest import Gateway, PlayedAnalytics, PlayedRunner, PlayedVault, error_of

from common.ids import new_id

ODD = b'{"success":true,  "data":{"cost":0.1000000000000000055511151231257827}}'


@pytest.mark.parametrize("what", ["usage", "latency"])
async def test_usage_is_asked_of_the_caller_s_own_workspace(
    gateway: Gateway, analytics: PlayedAnalytics, workspace_id: UUID, what: str
) -> None:
    analytics.answers[what] = ODD
    answer = await gateway.http.get(
        f"/api/analytics/{what}?by=day&by=label:team&label=team=a%26b&top=3&tz=Europe/Berlin"
    )
    assert (answer.status_code, answer.content) == (200, ODD)
    asked = {"by": ["day", "label:team"], "label": "team=a&b", "top": "3", "tz": "Europe/Berlin"}
    assert analytics.calls[-1] == ("GET", f"/workspaces/{workspace_id}/{what}", asked)
    refused = await gateway.http.get(f"/api/analytics/{what}?workspace_id={uuid4()}")
    assert error_of(refused) == (422, "invalid_request")


async def test_the_overview(gateway: Gateway, analytics: PlayedAnalytics, workspace_id: UUID) -> None:
    analytics.answers["overview"] = ODD
    for period in ("7d", "30d", "90d", "1y"):
        answer = await gateway.http.get(f"/api/analytics/overview?period={period}&workspace_id={uuid4()}")
        assert answer.content == ODD
        assert answer.headers["content-type"] == "application/json"
        assert analytics.calls[-1] == ("GET", f"/workspaces/{workspace_id}/overview", {"period": period})


async def test_a_bad_period_names_the_allowed_ones(gateway: Gateway, analytics: PlayedAnalytics) -> None:
    answer = await gateway.http.get("/api/analytics/overview?period=2d")
    assert error_of(answer) == (422, "invalid_request")
    assert all(period in answer.json()["error"] for period in ("period", "7d", "30d", "90d", "1y"))
    assert analytics.calls == []


async def test_pages_of_runs(gateway: Gateway, analytics: PlayedAnalytics, workspace_id: UUID) -> None:
    analytics.answers["runs"] = ODD
    query = {"limit": "5", "cursor": "abc=", "status": "failed", "model": "gpt-4o & co"}
    assert (await gateway.http.get("/api/runs", params=query)).content == ODD
    assert analytics.calls == [("GET", f"/workspaces/{workspace_id}/runs", query)]
    await gateway.http.get("/api/runs")
    assert analytics.calls[-1][2] == {"limit": "50"}


async def test_one_run(gateway: Gateway, analytics: PlayedAnalytics, runner: PlayedRunner) -> None:
    run_id = new_id()
    analytics.answers[f"runs/{run_id}"] = ODD
    assert (await gateway.http.get(f"/api/runs/{run_id}")).content == ODD
    assert analytics.calls[-1][2] == {}
    assert error_of(await gateway.http.get(f"/api/runs/{new_id()}")) == (404, "not_found")


async def test_a_named_run_is_asked_for_with_its_time(
    gateway: Gateway, analytics: PlayedAnalytics, runner: PlayedRunner
) -> None:
    run_id = (await gateway.run({"idempotency-key": "k"})).json()["data"]["runId"]
    analytics.answers[f"runs/{run_id}"] = ODD
    assert (await gateway.http.get(f"/api/runs/{run_id}")).content == ODD
    assert analytics.calls[-1][2] == {"accepted_at": str(runner.requests[0].accepted_at)}


async def test_an_outcome_is_recorded_by_a_member(
    gateway: Gateway, analytics: PlayedAnalytics, workspace_id: UUID
) -> None:
    run_id = new_id()
    analytics.answers[f"runs/{run_id}/outcome"] = ODD
    member = gateway.calling(await gateway.token("member"))
    said = {"success": True, "score": 0.25, "note": "as asked"}
    answer = await gateway.http.post(f"/api/runs/{run_id}/outcome", json=said, headers=member)
    assert (answer.status_code, answer.content) == (200, ODD)
    method, path, body = analytics.calls[-1]
    assert (method, path) == ("POST", f"/workspaces/{workspace_id}/runs/{run_id}/outcome")
    assert body == {"success": True, "score": 0.25, "note": "as asked"}
    viewer = gateway.calling(await gateway.token("viewer"))
    refused = await gateway.http.post(f"/api/runs/{run_id}/outcome", json=said, headers=viewer)
    assert error_of(refused) == (403, "forbidden")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "at least one of success, score and note"),
        ({"score": 2}, "score"),
        ({"score": "1"}, "a number from 0 to 1"),
        ({"note": "x" * 2001}, "note"),
        ({"sucess": True}, "sucess"),
    ],
)
async def test_an_outcome_that_says_nothing_is_refused(
    gateway: Gateway, analytics: PlayedAnalytics, said: dict[str, object], why: str
) -> None:
    refused = await gateway.http.post(f"/api/runs/{new_id()}/outcome", json=said)
    assert error_of(refused) == (422, "invalid_request")
    assert why in refused.json()["error"]
    assert analytics.calls == []


async def test_use_of_the_product_with_its_keys(
    gateway: Gateway, analytics: PlayedAnalytics, vault: PlayedVault, workspace_id: UUID
) -> None:
    complete = {
        **dict.fromkeys(("accepted", "finished", "inFlight", "lost", "repeated", "unpriced"), 0),
        "readUpTo": 1,
        "completeUpTo": 1,
    }
    use = {
        "start": "2026-01-01", "end": "2026-01-07", "runs": 3, "runsADay": 0.5, "days": [], "users": 2, "models": [],
        "costWithoutUser": 0, "source": "days", "readUpTo": None, "completeness": complete,
    }  # fmt: skip
    money = b'"cost":0.100000000000000001,"costPerUser":0.0500000000000000005}'
    content = json.dumps({"success": True, "data": use}).encode()
    analytics.answers["product"] = content.removesuffix(b"}}") + b"}," + money + b"}"
    for provider, active in (("openai", True), ("openai", True), ("anthropic", True), ("groq", False)):
        vault.keys[str(new_id())] = {
            "id": str(new_id()), "provider": provider, "name": "", "preview": "", "version": 1, "is_active": active,
            "verified": True, "created_at": 1, "expires_at": None, "state": "active",
        }  # fmt: skip

    answer = await gateway.http.get("/api/analytics/product?period=7d")

    told = json.loads(answer.content, parse_float=Decimal)["data"]
    assert told["keysConnected"] == {"total": 3, "byProvider": {"anthropic": 1, "openai": 2}}
    assert (told["cost"], told["costPerUser"]) == (Decimal("0.100000000000000001"), Decimal("0.0500000000000000005"))
    assert analytics.calls[-1] == ("GET", f"/workspaces/{workspace_id}/product", {"period": "7d"})
    vault.away = True
    assert (await gateway.http.get("/api/analytics/product?period=7d")).json()["data"]["keysConnected"] is None


async def test_analytics_is_away(gateway: Gateway, analytics: PlayedAnalytics) -> None:
    analytics.away = True
    assert error_of(await gateway.http.get("/api/analytics/overview")) == (503, "unavailable")


async def test_the_document_tells_of_tokens_and_bodies(gateway: Gateway) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    assert document["security"] == [{"token": []}]
    body = document["paths"]["/api/integrations/run"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"provider", "model", "promptId", "maxTokens"} <= set(body["properties"])
