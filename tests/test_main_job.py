"""The main job: connect a key, run prompts on it, see what they cost."""

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest
from tests.stack import Client, Simulator

DOLLARS_PER_MILLION = {
    # input, cached, cache writes, output: the providers' list prices.
    "gpt-4o-mini": (Decimal("0.15"), Decimal("0.075"), Decimal(0), Decimal("0.6")),
    "gpt-4.1": (Decimal(2), Decimal("0.5"), Decimal(0), Decimal(8)),
    "claude-3-haiku-20240307": (Decimal("0.25"), Decimal("0.03"), Decimal("0.3"), Decimal("1.25")),
    "claude-haiku-4-5": (Decimal(1), Decimal("0.1"), Decimal("1.25"), Decimal(5)),
}
UNPRICED = "model-of-our-own"


def dollars(model: str, usage: dict[str, int]) -> Decimal:
    """Compute the cost from the provider's own counts and the list prices, without any of the product's code."""
    plain, cached, written, output = DOLLARS_PER_MILLION[model]
    uncached = usage["input"] - usage["cached"] - usage["cache_writes"]
    parts = (uncached * plain, usage["cached"] * cached, usage["cache_writes"] * written, usage["output"] * output)
    return sum(parts, Decimal(0)) / 1_000_000


@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5")])
def test_a_prompt_runs_on_the_workspaces_own_key(
    client: Client, simulator: Simulator, unique: str, provider: str, model: str
) -> None:
    simulator.forget()
    data = client.run(provider, model, f"Say {unique}", system="Be brief", promptId="greeting").data
    calls = simulator.calls()
    assert (calls["total"], calls["models"]) == (1, {model: 1})
    usage = calls["usage"][model]
    assert data["output"].startswith("Simulated answer")
    assert (data["inputTokens"], data["outputTokens"]) == (usage["input"], usage["output"])
    assert data["totalTokens"] == usage["input"] + usage["output"]
    assert data["cost"] == dollars(model, usage)
    assert data["model"] == model
    assert data["latency"] >= 0
    assert set(data) == {
        "output", "inputTokens", "outputTokens", "totalTokens", "cost", "latency", "model", "runId",
    }  # fmt: skip


def test_connecting_answers_as_agreed(stranger: Client) -> None:
    answer = stranger.connect("openai", "key-that-works")
    assert (answer.status, answer.body) == (200, {"success": True, "message": "API key connected successfully"})


def test_a_connected_key_is_listed_by_its_last_four_characters(client: Client, unique: str) -> None:
    run = client.run("openai", "gpt-4o-mini", unique).data
    client.counted()
    keys = {key["provider"]: key for key in client.call("GET", "/api/integrations/keys").data}
    assert set(keys) == {"openai", "anthropic"}
    assert keys["openai"]["isActive"] is True
    assert keys["openai"]["usageCount"] == 1
    assert keys["openai"]["lastUsedAt"] is not None
    assert keys["anthropic"]["usageCount"] == 0
    assert len(keys["openai"]["preview"].lstrip(".…*")) == 4
    assert run["runId"]


def test_an_asynchronous_run_is_accepted_and_later_has_a_result(
    client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, latency_ms=1000)
    simulator.forget()
    text, labels = f"Count to ten {unique}", {"team": "search"}
    accepted = client.run(
        "openai", "gpt-4.1", text, headers={"prefer": "respond-async"}, promptId="count", labels=labels
    )
    run_id = accepted.data["runId"]
    assert accepted.status == 202
    assert accepted.headers["location"] == f"/api/runs/{run_id}"
    assert client.call("GET", f"/api/runs/{run_id}").data["status"] == "accepted"
    run = client.ended(run_id)
    usage = simulator.calls()["usage"]["gpt-4.1"]
    assert run["status"] == "succeeded"
    assert run["output"].startswith("Simulated answer")
    assert run["cost"] == dollars("gpt-4.1", usage)
    assert sum(run["costComponents"].values()) == run["cost"]
    assert run["usage"]["total"] == usage["input"] + usage["output"]
    assert (run["promptId"], run["labels"]) == ("count", labels)
    assert run["latency"] >= 1000
    [attempt] = run["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["statusCode"]) == (1, "known", 200)


def test_a_transient_failure_is_tried_again_and_both_attempts_are_shown(
    client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, kind="overloaded", retry_after=0.1, times=1)
    run_id = client.run("anthropic", "claude-haiku-4-5", unique).data["runId"]
    run = client.ended(run_id)
    assert [attempt["error"] for attempt in run["attempts"]] == ["provider_unavailable", None]
    assert run["executions"] == 1


def test_a_whole_request_travels_verbatim(client: Client, simulator: Simulator, unique: str) -> None:
    messages = [{"role": "user", "content": unique}, {"role": "assistant", "content": "Yes?"}]
    body = {"provider": "openai", "model": "gpt-4.1", "messages": messages, "temperature": 0.5, "maxTokens": 50}
    assert client.call("POST", "/api/integrations/run", body).status == 200
    assert simulator.last() == {
        "model": "gpt-4.1",
        "messages": messages,
        "temperature": Decimal("0.5"),
        "max_completion_tokens": 50,
    }


def test_runs_are_listed_page_by_page_the_newest_first(client: Client, unique: str) -> None:
    asked = [client.run("openai", "gpt-4.1", f"{n} {unique}").data["runId"] for n in range(5)]
    client.counted()
    listed: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.call("GET", f"/api/runs?limit=2{cursor and f'&cursor={quote(cursor)}'}").data
        listed += [run["runId"] for run in page["runs"]]
        cursor = page["nextCursor"]
        assert len(page["runs"]) <= 2
    assert listed == asked[::-1]


def test_an_idempotency_key_makes_one_run_of_two_requests(client: Client, simulator: Simulator, unique: str) -> None:
    simulator.forget()
    first, second = (client.run("openai", "gpt-4.1", unique, headers={"idempotency_key": unique}) for _ in range(2))
    assert first.data == second.data
    assert simulator.calls()["total"] == 1
    other = client.run("openai", "gpt-4.1", "another body", headers={"idempotency_key": unique})
    assert (other.status, other.body["code"]) == (409, "idempotency_conflict")
    assert client.counted()["overview"]["totalRuns"] == 1


def test_the_overview_equals_an_independent_recomputation_to_the_last_digit(
    client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.forget()
    models = [*DOLLARS_PER_MILLION, UNPRICED]
    answers = [_run(client, models[n % 5], f"Question {n} {unique} " + "why? " * n, f"p{n % 3}") for n in range(40)]
    data, calls = client.counted(), simulator.calls()
    rows = {row["model"]: row for row in data["modelBreakdown"]}

    assert calls["models"] == {model: row["runs"] for model, row in rows.items()}
    assert calls["repeated"] == {}
    for model in DOLLARS_PER_MILLION:
        assert rows[model]["cost"] == dollars(model, calls["usage"][model]), model
        assert rows[model]["tokens"] == calls["usage"][model]["input"] + calls["usage"][model]["output"]
        assert rows[model]["successRate"] == 100
    assert (rows[UNPRICED]["cost"], rows[UNPRICED]["unpricedRuns"]) == (0, 8)

    cost = sum((dollars(model, calls["usage"][model]) for model in DOLLARS_PER_MILLION), Decimal(0))
    totals = data["overview"]
    assert totals["totalCost"] == cost == sum(answer["cost"] or 0 for answer in answers)
    assert totals["totalRuns"] == 40
    assert totals["totalTokens"] == sum(answer["totalTokens"] for answer in answers)
    assert totals["periodComparison"] == {"runs": 40, "cost": cost, "runsPercent": None, "costPercent": None}
    assert sum(day["cost"] for day in data["timeSeries"]) == cost
    assert sum(day["runs"] for day in data["timeSeries"]) == 40
    assert len(data["timeSeries"]) == 7
    assert sum(prompt["totalCost"] for prompt in data["expensivePrompts"]) == cost
    assert {prompt["promptId"]: prompt["runs"] for prompt in data["expensivePrompts"]} == {"p0": 14, "p1": 13, "p2": 13}


def _run(client: Client, model: str, text: str, prompt_id: str) -> Any:
    provider = "anthropic" if model.startswith("claude") else "openai"
    return client.run(provider, model, text, promptId=prompt_id).data


@pytest.mark.parametrize("period", ["7d", "30d", "90d", "1y"])
def test_an_empty_period_answers_zeros(stranger: Client, period: str) -> None:
    totals = stranger.overview(period)["overview"]
    assert (totals["totalRuns"], totals["totalCost"], totals["totalTokens"], totals["successRate"]) == (0, 0, 0, 0)


def test_a_workspace_sees_its_own_runs_alone(client: Client, admin: Client, unique: str) -> None:
    run_id = client.run("openai", "gpt-4.1", unique).data["runId"]
    client.counted()
    neighbour = admin.member_of_new_workspace(f"neighbour {unique}")
    assert neighbour.overview()["overview"]["totalRuns"] == 0
    assert neighbour.call("GET", "/api/runs").data["runs"] == []
    assert neighbour.call("GET", f"/api/runs/{run_id}").body["code"] == "not_found"
