"""What analytics answers reaches the caller byte for byte, about the caller's workspace alone."""

from uuid import UUID, uuid4

import pytest
from services.gateway.tests.conftest import Gateway, PlayedAnalytics, PlayedRunner, error_of

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


async def test_analytics_is_away(gateway: Gateway, analytics: PlayedAnalytics) -> None:
    analytics.away = True
    assert error_of(await gateway.http.get("/api/analytics/overview")) == (503, "unavailable")


async def test_the_document_tells_of_tokens_and_bodies(gateway: Gateway) -> None:
    document = (await gateway.http.get("/openapi.json")).json()
    assert document["security"] == [{"token": []}]
    body = document["paths"]["/api/integrations/run"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"provider", "model", "promptId", "maxTokens"} <= set(body["properties"])
