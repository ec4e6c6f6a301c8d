"""Batches through the whole path, by the official client and by the own API."""

import json
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from openai import ConflictError, NotFoundError, OpenAI
from openai.types import Batch
from tests.stack import Client, Simulator, until
from tests.test_main_job import dollars

WITHIN = 60


@pytest.fixture
def official(client: Client) -> OpenAI:
    """OpenAI's own client, with nothing but another address."""
    return OpenAI(api_key=client.token, base_url=f"{client.url}/v1", max_retries=0)


def line(number: int, text: str, model: str = "gpt-4o-mini", **body: Any) -> dict[str, Any]:
    asked = {"model": model, "messages": [{"role": "user", "content": f"{text} {number}"}], **body}
    return {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": asked}


def submitted(official: OpenAI, lines: list[Any], **fields: Any) -> Batch:
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = official.files.create(file=("in.jsonl", content), purpose="batch")
    endpoint: Any = fields.pop("endpoint", "/v1/chat/completions")
    return official.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields)


def ended(official: OpenAI, batch: Batch) -> Batch:
    end = time.monotonic() + WITHIN
    while (told := official.batches.retrieve(batch.id)).status in (
        "validating",
        "in_progress",
        "finalizing",
        "cancelling",
    ):
        assert time.monotonic() < end, told
        time.sleep(0.1)
    return told


def lines_of(official: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(text) for text in official.files.content(file_id).text.splitlines()]


def test_the_official_client_runs_a_batch(official: OpenAI, client: Client, simulator: Simulator, unique: str) -> None:
    simulator.forget()
    models = ["gpt-4o-mini", "claude-haiku-4-5", "openai/gpt-4.1"]
    batch = submitted(official, [line(n, unique, models[n % 3]) for n in range(90)], metadata={"team": "search"})
    assert (batch.object, batch.status, batch.completion_window) == ("batch", "validating", "24h")
    told = ended(official, batch)
    counts = told.request_counts
    assert counts is not None
    assert (told.status, counts.total, counts.completed, counts.failed) == ("completed", 90, 90, 0)
    assert (told.metadata, told.error_file_id, told.errors) == ({"team": "search"}, None, None)
    times = [told.created_at, told.in_progress_at or 0, told.finalizing_at or 0, told.completed_at or 0]
    assert times == sorted(times)
    assert told.expires_at == told.created_at + 86_400
    rows = lines_of(official, told.output_file_id)
    assert Counter(row["custom_id"] for row in rows) == Counter(f"row-{n}" for n in range(90))
    assert {row["response"]["status_code"] for row in rows} == {200}
    assert all(row["response"]["body"]["choices"][0]["message"]["content"].startswith("Simulated") for row in rows)
    calls = simulator.calls()
    assert (calls["total"], calls["repeated"]) == (90, {})
    cost = sum((dollars(model, usage) for model, usage in calls["usage"].items()), Decimal(0))
    shown = client.call("GET", f"/api/batches/{batch.id}").data
    assert (shown["cost"], shown["unpriced"]) == (cost, 0)
    assert client.counted()["overview"]["totalCost"] == cost
    output = official.files.retrieve(told.output_file_id or "")
    assert output.purpose == "batch_output"
    assert output.id in [file.id for file in official.files.list()]
    assert [listed.id for listed in official.batches.list(limit=1)] == [batch.id]


def test_messages_for_anthropic_come_back_as_they_are(official: OpenAI, unique: str) -> None:
    body = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": unique}]}
    row = {"custom_id": "a", "method": "POST", "url": "/v1/messages", "body": body}
    told = ended(official, submitted(official, [row], endpoint="/v1/messages"))
    (answer,) = lines_of(official, told.output_file_id)
    assert answer["response"]["body"]["type"] == "message"
    assert answer["response"]["body"]["content"][0]["type"] == "text"


def test_bad_lines_fail_the_batch_with_their_numbers(official: OpenAI, simulator: Simulator, unique: str) -> None:
    simulator.forget()
    lines = [line(0, unique), line(0, unique), {**line(2, unique), "url": "/v1/embeddings"}, line(3, unique, "gpt-9")]
    told = ended(official, submitted(official, lines))
    assert told.status == "failed"
    assert told.failed_at is not None
    assert told.errors is not None
    found = [(error.line, error.code) for error in told.errors.data or []]
    assert found == [(2, "duplicate_custom_id"), (3, "invalid_url"), (4, "model_not_found")]
    assert simulator.calls()["total"] == 0


def test_all_rows_fail(official: OpenAI, unique: str) -> None:
    told = ended(official, submitted(official, [line(n, unique, "openai/missing") for n in range(3)]))
    counts = told.request_counts
    assert counts is not None
    assert (told.status, told.output_file_id, counts.completed, counts.failed) == ("completed", None, 0, 3)
    rows = lines_of(official, told.error_file_id)
    assert {row["response"]["body"]["error"]["code"] for row in rows} == {"model_not_found"}


def test_unknown_things_and_wrong_requests(official: OpenAI) -> None:
    with pytest.raises(NotFoundError):
        official.batches.retrieve("batch_nobody")
    with pytest.raises(NotFoundError):
        official.files.retrieve("file-nobody")
    with pytest.raises(NotFoundError):
        official.batches.create(input_file_id="file-nobody", endpoint="/v1/chat/completions", completion_window="24h")
    file = official.files.create(
        file=("a", b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600
    assert official.files.delete(file.id).deleted
    with pytest.raises(NotFoundError):
        official.files.content(file.id)


def test_a_cancelled_batch_keeps_what_finished(
    official: OpenAI, client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, latency_ms=300)
    simulator.forget()
    batch = submitted(official, [line(n, unique) for n in range(1500)])
    until(lambda: client.call("GET", f"/api/batches/{batch.id}").data["succeeded"] > 0, "some rows end")
    assert official.batches.cancel(batch.id).status == "cancelling"
    told = ended(official, batch)
    counts = told.request_counts
    assert counts is not None
    assert told.status == "cancelled"
    assert counts.completed + counts.failed == counts.total == 1500
    assert 0 < counts.completed == simulator.calls()["total"] < 1500
    assert len(lines_of(official, told.output_file_id)) == counts.completed
    errors = lines_of(official, told.error_file_id)
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
    with pytest.raises(ConflictError):
        official.batches.cancel(batch.id)


def test_a_refused_key_pauses_and_a_new_one_resumes(stranger: Client, simulator: Simulator, unique: str) -> None:
    assert stranger.connect("openai", f"key-{unique}").status == 200
    simulator.when(unique, kind="invalid_api_key", key=f"key-{unique}")
    official = OpenAI(api_key=stranger.token, base_url=f"{stranger.url}/v1")
    batch = submitted(official, [line(n, unique) for n in range(40)])
    path = f"/api/batches/{batch.id}"
    until(lambda: stranger.call("GET", path).data["state"] == "paused", "the batch pauses")
    assert "invalid_api_key" in stranger.call("GET", path).data["pausedReason"]
    assert stranger.connect("openai", f"key-new-{unique}").status == 200
    told = ended(official, batch)
    shown = stranger.call("GET", path).data
    assert (told.status, shown["succeeded"], shown["failed"]) == ("completed", 40, 0)


def test_a_spend_limit_is_kept_to_the_last_digit(client: Client, simulator: Simulator, unique: str) -> None:
    simulator.forget()
    rows = [line(n, unique, max_tokens=60) for n in range(200)]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    official = OpenAI(api_key=client.token, base_url=f"{client.url}/v1")
    file = official.files.create(file=("in.jsonl", content), purpose="batch")
    limit = Decimal("0.002")
    batch = client.call("POST", "/api/batches", {"fileId": file.id, "maxCost": str(limit)}).data
    until(lambda: client.call("GET", f"/api/batches/{batch['id']}").data["endedAt"] is not None, "it ends", WITHIN)
    told = client.call("GET", f"/api/batches/{batch['id']}").data
    print(f"{told['succeeded']} of 200 rows for {told['cost']} of {limit} dollars")
    assert told["state"] == "completed"
    assert 0 < told["succeeded"] < 200
    assert told["cost"] == client.counted()["overview"]["totalCost"] <= limit
    retried = client.call("POST", f"/api/batches/{batch['id']}/retry", {"maxCost": "1"}).data
    until(lambda: client.call("GET", f"/api/batches/{retried['id']}").data["endedAt"] is not None, "it ends", WITHIN)
    again = client.call("GET", f"/api/batches/{retried['id']}").data
    assert (again["succeeded"], again["retryOf"]) == (200 - told["succeeded"], batch["id"])
    assert simulator.calls()["repeated"] == {}


def test_one_idempotency_key_is_one_batch(official: OpenAI, unique: str) -> None:
    file = official.files.create(file=("a", json.dumps(line(0, unique)).encode()), purpose="batch")
    asked: Any = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    headers = {"Idempotency-Key": unique}
    first, second = (official.batches.create(**asked, extra_headers=headers) for _ in range(2))
    assert first.id == second.id
    with pytest.raises(ConflictError):
        official.batches.create(**{**asked, "metadata": {"a": "b"}}, extra_headers=headers)
    ended(official, first)
