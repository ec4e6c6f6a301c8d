"""Batches through the providers' own: every row once, at the price of a batch, whoever is killed meanwhile."""

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from openai import OpenAI
from tests.stack import Client, Simulator, Stack, request, until

MODELS = ("gpt-4o-mini", "claude-haiku-4-5")
ENDED = ("completed", "failed", "expired", "cancelled")
WITHIN = 90


@pytest.fixture(autouse=True)
def pace(simulator: Simulator) -> Iterator[Callable[..., Any]]:
    """Steers the simulated providers' batches, which go at their own pace again afterwards."""

    def steer(**fields: Any) -> None:
        assert request("POST", f"{simulator.url}/control/batches", fields).status == 200

    yield steer
    steer(seconds=0.5, served=1.0)


def provider_batches(simulator: Simulator, unique: str) -> list[Any]:
    """Return the batches that were made of rows with this word."""
    made = request("GET", f"{simulator.url}/control/batches").body
    return [batch for batch in made if unique in str(batch["first"])]


def rows_of(unique: str, count: int, models: tuple[str, ...] = MODELS) -> bytes:
    lines = [
        {
            "custom_id": f"{unique}-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": models[number % len(models)],
                "max_tokens": 60,
                "messages": [{"role": "user", "content": f"{unique} {number}"}],
            },
        }
        for number in range(count)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def submitted(client: Client, content: bytes, **terms: Any) -> str:
    official = OpenAI(api_key=client.token, base_url=f"{client.url}/v1", max_retries=0)
    file = official.files.create(file=("in.jsonl", content), purpose="batch").id
    batch: str = client.call("POST", "/api/batches", {"fileId": file, "mode": "provider", **terms}).data["id"]
    return batch


def shown(client: Client, batch: str) -> Any:
    """Return how the batch stands, None while the gateway is away."""
    try:
        return client.call("GET", f"/api/batches/{batch}").data
    except OSError:
        return None


def once(client: Client, batch: str, reached: Callable[[Any], bool], what: str, within: float = WITHIN) -> Any:
    told: Any = None

    def asked() -> bool:
        nonlocal told
        told = shown(client, batch)
        return told is not None and reached(told)

    try:
        until(asked, what, within)
    finally:
        print(what, told and {name: told[name] for name in ("state", "inFlight", "succeeded", "pausedReason", "parts")})
    return told


def ended(client: Client, batch: str) -> Any:
    return once(client, batch, lambda told: told["state"] in ENDED, "the batch ends")


def ids_of(client: Client, batch: str) -> Counter[str]:
    official = OpenAI(api_key=client.token, base_url=f"{client.url}/v1")
    output = official.batches.retrieve(batch).output_file_id
    assert output is not None
    return Counter(json.loads(line)["custom_id"] for line in official.files.content(output).text.splitlines())


def batch_dollars(model: str, usage: Any) -> Decimal:
    """Return what this much costs in a provider's batch, out of the providers' own counts and the price list."""
    provider = "anthropic" if model.startswith("claude") else "openai"
    price = {
        "openai": {"input": "0.075", "cached": "0.075", "cache_writes": "0", "output": "0.30"},  # gpt-4o-mini
        "anthropic": {"input": "0.50", "cached": "0.05", "cache_writes": "0.625", "output": "2.50"},  # claude-haiku-4-5
    }[provider]
    fresh = usage["input"] - usage["cached"] - usage["cache_writes"]
    amounts = {**{kind: usage[kind] for kind in ("cached", "cache_writes", "output")}, "input": fresh}
    return sum((amount * Decimal(price[kind]) / 1_000_000 for kind, amount in amounts.items()), Decimal(0))


def parts_at(told: Any, *stages: str) -> bool:
    return bool(told["parts"]) and all(part["stage"] in stages for part in told["parts"])


@pytest.mark.parametrize("rows", [200, pytest.param(20_000, marks=pytest.mark.soak)], ids=lambda rows: f"{rows} rows")
def test_killed_in_between_no_row_is_lost_and_each_provider_has_one_batch(
    rows: int, stack: Stack, client: Client, simulator: Simulator, unique: str, pace: Callable[..., Any]
) -> None:
    pace(seconds=12)
    simulator.forget()
    batch = submitted(client, rows_of(unique, rows), name="cheap", labels={"team": "search"})
    once(client, batch, lambda told: parts_at(told, "submitted"), "both parts are at their providers")
    for name in ("gateway", "runner"):
        os.kill(stack.pid(name), signal.SIGKILL)
    once(client, batch, lambda told: any(part["endedAt"] for part in told["parts"]), "a part is about to be collected")
    os.kill(stack.pid("runner"), signal.SIGKILL)
    told = ended(client, batch)

    calls = simulator.calls()
    assert (told["state"], told["succeeded"], told["failed"], told["unpriced"]) == ("completed", rows, 0, 0)
    assert (told["runsAs"], told["runsAsWhy"]) == ("provider", None)
    assert Counter(made["rows"] for made in provider_batches(simulator, unique)) == {rows // 2: 2}
    assert (calls["served"], calls["repeated"]) == (rows, {})
    assert ids_of(client, batch) == Counter(f"{unique}-{number}" for number in range(rows))
    cost = sum((batch_dollars(model, usage) for model, usage in calls["usage"].items()), Decimal(0))
    assert told["cost"] == cost
    counted = client.counted()["overview"]
    assert (counted["totalRuns"], counted["totalCost"]) == (rows, cost)
    groups = client.call("GET", "/api/analytics/usage?by=tier").data["groups"]
    assert [(group["by"]["tier"], group["runs"]) for group in groups] == [("batch", rows)]


def test_a_batch_whose_making_was_not_heard_of_is_found_and_not_made_twice(
    client: Client, simulator: Simulator, unique: str, pace: Callable[..., Any]
) -> None:
    pace(seconds=4, lose_next="after")
    batch = submitted(client, rows_of(unique, 20, ("gpt-4o-mini",)))
    told = ended(client, batch)
    assert (told["state"], told["succeeded"]) == ("completed", 20)
    assert len(provider_batches(simulator, unique)) == 1


def test_what_expired_there_goes_into_another_batch(
    client: Client, simulator: Simulator, unique: str, pace: Callable[..., Any]
) -> None:
    pace(served=0.5)
    simulator.forget()
    batch = submitted(client, rows_of(unique, 20))
    once(client, batch, lambda told: len(told["parts"]) > 2, "a second round begins")
    pace(served=1.0)
    told = ended(client, batch)
    assert (told["state"], told["succeeded"], told["failed"], told["expired"]) == ("completed", 20, 0, 0)
    assert ids_of(client, batch) == Counter(f"{unique}-{number}" for number in range(20))
    assert simulator.calls()["repeated"] == {}


def test_cancelled_it_keeps_what_is_done_and_bills_nothing_else(
    client: Client, simulator: Simulator, unique: str, pace: Callable[..., Any]
) -> None:
    pace(seconds=60)
    batch = submitted(client, rows_of(unique, 20))
    once(client, batch, lambda told: parts_at(told, "submitted"), "both parts are at their providers")
    client.call("POST", f"/api/batches/{batch}/cancel")
    told = ended(client, batch)
    assert (told["state"], told["cancelled"], told["cost"]) == ("cancelled", 20, 0)
    assert {made.get("status", made.get("processing_status")) for made in provider_batches(simulator, unique)} == {
        "cancelled",  # OpenAI's word
        "ended",  # Anthropic's
    }


def test_at_its_deadline_it_ends_as_expired(
    client: Client, simulator: Simulator, unique: str, pace: Callable[..., Any]
) -> None:
    pace(seconds=60)
    told = ended(client, submitted(client, rows_of(unique, 4), deadlineSeconds=6))
    assert (told["state"], told["expired"]) == ("expired", 4)


def test_without_its_key_it_pauses_and_goes_on_with_another_of_the_account(
    stranger: Client, simulator: Simulator, unique: str, pace: Callable[..., Any]
) -> None:
    pace(seconds=3)
    account = f"key-{uuid.uuid4().hex}"
    assert stranger.connect("openai", account).status == 200
    batch = submitted(stranger, rows_of(unique, 4, ("gpt-4o-mini",)))
    once(stranger, batch, lambda told: parts_at(told, "submitted"), "the part is at its provider")
    (key,) = [key["id"] for key in stranger.call("GET", "/api/integrations/keys").data]
    assert stranger.call("DELETE", f"/api/integrations/keys/{key}").status == 200
    told = once(stranger, batch, lambda told: told["state"] == "paused", "it pauses")
    assert told["pausedReason"].startswith("no_api_key: openai refuses the key")
    assert stranger.connect("openai", account).status == 200
    assert (ended(stranger, batch)["succeeded"], len(provider_batches(simulator, unique))) == (4, 1)


def test_the_quote_is_half_and_auto_says_why_not(client: Client, unique: str) -> None:
    official = OpenAI(api_key=client.token, base_url=f"{client.url}/v1", max_retries=0)
    file = official.files.create(file=("in.jsonl", rows_of(unique, 120)), purpose="batch").id

    def quoted(**fields: Any) -> Any:
        return client.call("POST", "/api/batches/quote", {"fileId": file, **fields}).data

    online, provider = quoted(), quoted(mode="provider")
    assert provider["low"] * 2 == online["low"]
    assert provider["high"] * 2 == online["high"]
    assert (online["runsAs"], quoted(mode="auto")["runsAs"], provider["runsAs"]) == ("online", "provider", "provider")
    hurried = quoted(mode="auto", deadlineSeconds=3600)
    assert (hurried["runsAs"], hurried["runsAsWhy"]) == ("online", "its deadline is less than 24 hours away")
