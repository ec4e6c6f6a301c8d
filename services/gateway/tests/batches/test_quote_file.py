"""A file's price before anything is sent, and beside the true cost afterwards."""

from decimal import Decimal

from services.gateway.tests.batches.conftest import Caller, PlayedLog, Told, jsonl, row
from services.gateway.tests.conftest import error_of

from common.contracts.answers_v1 import OutputTokens, Success
from gateway.batches.mode import MOST_KINDS

KNOWN = OutputTokens(runs=1000, mean=100, lower=80, upper=130)


async def _quote(caller: Caller, content: bytes, **fields: str) -> Told:
    asked = {"fileId": await caller.upload(content), **fields}
    answer = await caller.gateway.http.post("/api/batches/quote", json=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["data"])


async def test_a_file_is_quoted_by_model_and_nothing_is_sent(caller: Caller, log: PlayedLog) -> None:
    log.answers["output-tokens"] = Success(data=KNOWN).encode()
    rows = [row(n) for n in range(3)]
    rows[0]["body"]["model"] = "openai/in-house-finetune"
    quoted = await _quote(caller, jsonl(rows))
    unpriced, priced = quoted["models"]
    assert (quoted["rows"], quoted["unpricedRows"], quoted["errors"]) == (3, 1, [])
    assert (unpriced["model"], unpriced["low"], unpriced["high"]) == ("in-house-finetune", None, None)
    assert (priced["rows"], priced["outputLow"], priced["outputHigh"]) == (2, 160, 260)
    assert 0 < quoted["low"] == priced["low"] < priced["high"] == quoted["high"]
    assert "your last 1,000 answers" in priced["basis"]
    assert log.requests == []


async def test_bad_lines_are_named_and_the_others_quoted(caller: Caller) -> None:
    quoted = await _quote(caller, jsonl([row(0), b"{", row(2, method="GET"), row(0)]))
    assert quoted["rows"] == 1
    faults = [(error["line"], error["code"]) for error in quoted["errors"]]
    assert faults == [(2, "invalid_json_line"), (3, "invalid_method"), (4, "duplicate_custom_id")]


async def test_what_no_provider_would_take_as_a_batch_is_said_before_it_is_submitted(caller: Caller) -> None:
    rows = [row(n) for n in range(MOST_KINDS + 1)]
    for number, asked in enumerate(rows):
        asked["body"]["model"] = f"openai/model-{number}"
    (error,) = (await _quote(caller, jsonl(rows), mode="provider"))["errors"]
    assert (error["line"], error["code"], error["param"]) == (None, "unsupported", "mode")
    assert error["message"] == "its rows are of more than 20 models: run them in mode 'online'"
    failed = await caller.ended(await caller.submit(rows, mode="provider"))
    assert (failed["state"], failed["errors"]) == ("failed", [error])
    auto = await _quote(caller, jsonl(rows), mode="auto")
    assert (auto["runsAs"], auto["runsAsWhy"], auto["errors"]) == ("online", "its rows are of more than 20 models", [])


async def test_rows_without_a_model_take_the_one_that_is_asked_with(caller: Caller) -> None:
    bare = row(0)
    del bare["body"]["model"]
    assert (await _quote(caller, jsonl([bare]), model="gpt-4o"))["models"][0]["model"] == "gpt-4o"
    assert (await _quote(caller, jsonl([bare])))["errors"][0]["param"] == "model"


async def test_a_batch_keeps_what_it_was_expected_to_cost(caller: Caller, log: PlayedLog) -> None:
    log.answers["output-tokens"] = Success(data=KNOWN).encode()
    rows = [row(n) for n in range(5)]
    quoted = await _quote(caller, jsonl(rows))
    told = await caller.ended(await caller.submit(rows))
    assert {name: Decimal(str(value)) for name, value in told["quote"].items()} == {
        "low": Decimal(str(quoted["low"])),
        "high": Decimal(str(quoted["high"])),
        "unpricedRows": 0,
    }
    assert told["cost"] > 0


async def test_a_file_of_nobody(caller: Caller) -> None:
    answer = await caller.gateway.http.post("/api/batches/quote", json={"fileId": "file-unknown"})
    assert error_of(answer) == (404, "not_found")
