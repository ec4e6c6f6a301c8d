from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import pytest

from analytics.clickhouse import ClickHouse
from analytics.hours import LAST
from analytics.ingest import Ingest
from analytics.runs import Runs
from common.contracts.runs_asked_v1 import RunsAsked
from common.contracts.runs_v1 import Cost, RunCompleted, RunRequested, Usage
from common.contracts.topics import BATCHED, REQUESTED
from common.ids import new_id
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]

HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "not JSON": lambda _: b"{",
    "nothing": lambda _: b"",
    "a list": lambda value: b"[" + value + b"]",
    "two rows in one": lambda value: value + value,
    "no run": lambda value: value.replace(b'"run_id"', b'"other_id"'),
    "no UUID": lambda value: value.replace(b'"execution_id":"', b'"execution_id":"x'),
    "a time after 2100": lambda value: value.replace(b'"accepted_at":1', b'"accepted_at":9999'),
    "an unknown status": lambda value: value.replace(b'"succeeded"', b'"triumphant"'),
    "no status": lambda value: value.replace(b'"status"', b'"state"'),
    "negative tokens": lambda value: value.replace(b'"input":10', b'"input":-10'),
    "half a token": lambda value: value.replace(b'"input":10', b'"input":10.5'),
    "more tokens than there are": lambda value: value.replace(b'"input":10', b'"input":1099511627777'),
    "negative cost": lambda value: value.replace(b'"0.001"', b'"-0.001"'),
    "no number": lambda value: value.replace(b'"0.001"', b'"NaN"'),
    "a cost that would overflow": lambda value: value.replace(b'"0.001"', b'"1e19"'),
    "priced without a total": lambda value: value.replace(b'"total":"0.001",', b""),
    "not UTF-8": lambda value: value.replace(b"four", b"\xff\xfe"),
    "half a surrogate pair": lambda value: value.replace(b"four", b"\\ud83d"),
    "a number beyond all": lambda value: value.replace(b'"latency_ms":800', b'"latency_ms":1e400'),
    "no list of labels": lambda value: value.replace(b'"labels":{}', b'"labels":[1]'),
    "nested too deep": lambda value: value.replace(b'"attempts":[]', b'"attempts":' + b"[" * 9999 + b"]" * 9999),
    "a field twice": lambda value: value.replace(b'"status"', b'"status":"failed","status"'),
}


@pytest.fixture
def runs(database: ClickHouse) -> Runs:
    class AllRead:
        async def passes(self, time: int, within: float) -> bool:
            return True

    return Runs(database, AllRead())


@pytest.mark.parametrize("fault", HOSTILE)
async def test_one_bad_record_never_stops_the_others(
    ingest: Ingest, completed: Make, as_record: AsRecord, runs: Runs, workspace: UUID, fault: str
) -> None:
    good = [completed() for _ in range(5)]
    bad = as_record(good[0], value=HOSTILE[fault](completed().encode()))
    records = [as_record(run) for run in good]

    refused = await ingest.store([*records[:2], bad, *records[2:]])

    assert [row.record for row in refused] == [bad]
    assert refused[0].reason.startswith("malformed")
    assert "four" not in refused[0].reason  # never what a run said
    page = await runs.page(workspace, RunsAsked())
    assert {run.run_id for run in page.runs} == {str(run.run_id) for run in good}


async def test_every_bad_record_of_a_batch_is_found(ingest: Ingest, completed: Make, as_record: AsRecord) -> None:
    records = [as_record(completed()) for _ in range(40)]
    for n in (0, 1, 17, 39):
        run = completed()
        records[n] = as_record(run, value=HOSTILE["an unknown status"](run.encode()))
    refused = await ingest.store(records)
    assert [row.record for row in refused] == [records[n] for n in (0, 1, 17, 39)]
    assert {row.reason for row in refused} == {"malformed: UNKNOWN_ELEMENT_OF_ENUM"}


async def test_a_run_is_kept_whole(
    ingest: Ingest, completed: Make, as_record: AsRecord, runs: Runs, workspace: UUID
) -> None:
    key = new_id()
    run = RunCompleted.model_validate(
        completed().model_dump()
        | {
            "user": "ann",
            "prompt_id": "greeting",
            "labels": {"team": "search"},
            "batch_id": "b1",
            "custom_id": "c1",
            "output": 'lines\nand "quotes" and \u0000 and 😀',
            "response": '{"id": "x"}',
            "finish_reason": "stop",
            "served_model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "usage": Usage(input=10, output=5, cached=3, cache_writes=2, reasoning=1),
            "cost": Cost(
                priced=True,
                total=Decimal("0.000000000000000003"),
                components={"input": Decimal("1e-18"), "output": Decimal("2e-18")},
                catalogue="prices 7",
            ),
            "attempts": [
                {"number": 1, "started_at": 1, "latency_ms": 2, "outcome": "unknown", "error": "timeout"},
                {"number": 2, "started_at": 5, "latency_ms": 3, "outcome": "known", "status_code": 200},
            ],
            "prompt_preview": "Say hello",
            "queued_ms": 7,
            "key_id": key,
            "key_version": 2,
        }
    )
    assert await ingest.store([as_record(run)]) == []

    seen = await runs.detail(workspace, run.run_id, None)

    assert (seen.status, seen.user, seen.prompt_id, seen.labels) == ("succeeded", "ann", "greeting", {"team": "search"})
    assert (seen.output, seen.response, seen.prompt_preview) == (run.output, run.response, "Say hello")
    assert (seen.batch_id, seen.custom_id, seen.key_id) == ("b1", "c1", str(key))
    assert (seen.served_model, seen.service_tier, seen.finish_reason) == (run.served_model, "default", "stop")
    assert seen.usage is not None
    assert seen.usage.model_dump() == {**run.usage.model_dump(), "total": 15}
    assert (seen.cost, seen.cost_components, seen.catalogue) == (run.cost.total, run.cost.components, "prices 7")
    assert [(a.number, a.outcome, a.error, a.status_code) for a in seen.attempts] == [
        (1, "unknown", "timeout", None),
        (2, "known", None, 200),
    ]
    assert (seen.latency, seen.queued_ms, seen.executions, seen.error) == (800, 7, 1, None)


async def test_a_record_cannot_set_what_is_ours(
    ingest: Ingest, database: ClickHouse, completed: Make, as_record: AsRecord, runs: Runs, workspace: UUID
) -> None:
    run = completed()
    forged = run.encode()[:-1] + b',"version":9,"hour":"2020-01-01 00:00:00","retention_days":0,"later_field":1}'
    assert await ingest.store([as_record(run, value=forged)]) == []
    assert await ingest.store([as_record(run)]) == []
    assert (await runs.detail(workspace, run.run_id, None)).output == "four"


async def test_checks_and_journal_entries_are_no_runs(
    ingest: Ingest, completed: Make, requested: Request, as_record: AsRecord, runs: Runs, workspace: UUID
) -> None:
    journal = as_record(completed())
    journal.__dict__["headers"] = (("type", b"runs.v1.started"),)
    records = [
        as_record(completed(operation="check")),
        as_record(requested(operation="check"), REQUESTED.name),
        journal,
    ]
    assert await ingest.store(records) == []
    assert (await runs.page(workspace, RunsAsked())).runs == []


async def test_accepted_runs_are_known_without_their_text(
    ingest: Ingest, database: ClickHouse, requested: Request, as_record: AsRecord, runs: Runs, workspace: UUID
) -> None:
    asked = [requested(user="ann", labels={"team": "x"}), requested()]
    late = requested(publish_by=1)
    records = [as_record(run, topic.name) for run, topic in zip(asked, (REQUESTED, BATCHED), strict=True)]
    assert await ingest.store([*records, as_record(late, REQUESTED.name)]) == []
    stored = await database.rows(
        "accepted", workspace=workspace, run_ids=[run.run_id for run in (*asked, late)], **{"from": 0, "to": LAST}
    )
    assert {row["run_id"] for row in stored} == {run.run_id for run in asked}
    assert "secret" not in repr(stored)
    seen = await runs.detail(workspace, asked[0].run_id, None)
    assert (seen.status, seen.user, seen.labels, seen.completed_at) == ("accepted", "ann", {"team": "x"}, None)


async def test_requests_that_are_no_runs_are_left_to_the_runner(
    ingest: Ingest, requested: Request, as_record: AsRecord, runs: Runs, workspace: UUID
) -> None:
    foreign = as_record(requested(workspace_id=new_id()), REQUESTED.name)
    malformed = as_record(requested(), REQUESTED.name, value=b"{}")
    assert await ingest.store([foreign, malformed]) == []
    assert (await runs.page(workspace, RunsAsked())).runs == []
