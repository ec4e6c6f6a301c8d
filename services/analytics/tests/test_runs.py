import asyncio
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID, uuid5

import pytest

from analytics.clickhouse import ClickHouse
from analytics.ingest import Ingest
from analytics.runs import Runs
from common.contracts.answers_v1 import RunSummary
from common.contracts.runs_asked_v1 import RunsAsked
from common.contracts.runs_v1 import Attempt, Cost, RunCompleted, RunError, RunRequested
from common.contracts.topics import DAY_MS, REQUESTED
from common.errors import InvalidRequest, NotFound
from common.ids import NAMESPACE, new_id, now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]


class Reading:
    """A watermark that stands where the test puts it."""

    def __init__(self) -> None:
        self.read_up_to = 2**62
        self.asked: list[int] = []

    async def passes(self, time: int, within: float) -> bool:
        self.asked.append(time)
        return self.read_up_to >= time


@pytest.fixture
def reading() -> Reading:
    return Reading()


@pytest.fixture
def runs(database: ClickHouse, reading: Reading) -> Runs:
    return Runs(database, reading)


async def test_pages_are_complete_and_without_duplicates(
    ingest: Ingest, runs: Runs, completed: Make, requested: Request, as_record: AsRecord, workspace: UUID
) -> None:
    now = now_ms()
    ages = [0, 0, 0, 1, 2, 60_000, 3_700_000, DAY_MS, 3 * DAY_MS, 40 * DAY_MS, 400 * DAY_MS]
    done = [completed(accepted_at=now - age) for age in ages]
    again = done[3].model_copy(update={"execution_id": new_id(), "completed_at": now + 9})
    waiting = [requested(accepted_at=now - age) for age in (0, 1, 5)]
    of_done = [requested(run_id=run.run_id, accepted_at=run.accepted_at) for run in done[:4]]
    await ingest.store([as_record(run) for run in (*done, again, *done)])
    await ingest.store([as_record(run, REQUESTED.name) for run in [*waiting, *of_done]])

    seen: list[RunSummary] = []
    cursor: str | None = None
    while True:
        page = await runs.page(workspace, RunsAsked(limit=3, cursor=cursor))
        seen += page.runs
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.runs) == 3

    assert len(seen) == len(done) + len(waiting)
    assert {run.run_id for run in seen} == {str(run.run_id) for run in done} | {str(run.run_id) for run in waiting}
    assert [run.accepted_at for run in seen] == sorted((run.accepted_at for run in seen), reverse=True)
    assert {run.run_id for run in seen if run.status == "accepted"} == {str(run.run_id) for run in waiting}
    assert {run.run_id: run.executions for run in seen}[str(done[3].run_id)] == 2


async def test_pages_can_be_narrowed(
    ingest: Ingest, runs: Runs, completed: Make, requested: Request, as_record: AsRecord, workspace: UUID
) -> None:
    failed = completed(status="failed", model="a", error=RunError(code="rate_limited", message="slow down"))
    await ingest.store([as_record(run) for run in (failed, completed(model="a"), completed(model="b"))])
    await ingest.store([as_record(requested(model="b"), REQUESTED.name)])

    async def models(status: str | None, model: str | None) -> list[tuple[str, str]]:
        asked = {"status": [status] if status else [], "model": [model] if model else []}
        page = await runs.page(workspace, RunsAsked.model_validate(asked))
        return sorted((run.status, run.model) for run in page.runs)

    assert await models("failed", None) == [("failed", "a")]
    assert await models(None, "a") == [("failed", "a"), ("succeeded", "a")]
    assert await models("accepted", None) == [("accepted", "b")]
    assert await models("succeeded", "b") == [("succeeded", "b")]
    assert await models("expired", None) == []
    [only] = (await runs.page(workspace, RunsAsked(status=["failed"]))).runs
    assert only.error_code == "rate_limited"


@pytest.mark.parametrize("cursor", ["x", "é", "MTIz", "bm90LWEtbnVtYmVyLng="])
async def test_a_foreign_cursor_is_refused(runs: Runs, workspace: UUID, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        await runs.page(workspace, RunsAsked(limit=3, cursor=cursor))


async def test_a_run_of_another_workspace_is_not_found(
    ingest: Ingest, runs: Runs, completed: Make, as_record: AsRecord
) -> None:
    run = completed()
    await ingest.store([as_record(run)])
    with pytest.raises(NotFound, match=str(run.run_id)):
        await runs.detail(new_id(), run.run_id, None)


async def test_an_unknown_run_is_accepted_until_everything_that_could_tell_is_read(
    runs: Runs, reading: Reading, workspace: UUID
) -> None:
    run_id = new_id()
    reading.read_up_to = now_ms() - 60_000
    seen = await runs.detail(workspace, run_id, None)
    assert (seen.status, seen.model, seen.cost, seen.output, seen.executions) == ("accepted", "", None, None, 0)
    assert seen.accepted_at  # a UUIDv7 tells its time
    reading.read_up_to = now_ms() + 60_000
    with pytest.raises(NotFound):
        await runs.detail(workspace, run_id, None)


async def test_how_far_must_be_read(runs: Runs, reading: Reading, workspace: UUID) -> None:
    before, named = now_ms(), uuid5(NAMESPACE, "a")
    a_day_old = UUID(int=new_id().int - (DAY_MS << 80))  # a UUIDv7 begins with its milliseconds
    for run_id, hint in ((new_id(), None), (named, None), (named, before - DAY_MS), (a_day_old, None)):
        with pytest.raises(NotFound):
            await runs.detail(workspace, run_id, hint)
    recent, without_time, named_long_ago, old = reading.asked
    assert recent >= before
    assert without_time >= before
    assert named_long_ago >= before  # its caller may have sent it again just now
    assert old < before


async def test_a_run_that_is_stored_during_the_wait_is_found(
    database: ClickHouse, ingest: Ingest, completed: Make, as_record: AsRecord, workspace: UUID
) -> None:
    run = completed()

    class Arriving:
        async def passes(self, time: int, within: float) -> bool:
            await ingest.store([as_record(run)])
            return True

    seen = await Runs(database, Arriving()).detail(workspace, run.run_id, run.accepted_at)
    assert seen.status == "succeeded"


async def test_a_repeated_run_shows_all_it_cost(
    ingest: Ingest, runs: Runs, completed: Make, as_record: AsRecord, workspace: UUID
) -> None:
    run = completed()
    again = run.model_copy(update={"execution_id": new_id(), "completed_at": run.completed_at + 1, "output": "five"})
    unpriced = completed(cost=Cost(priced=False))
    await ingest.store([as_record(r) for r in (again, run, unpriced)])
    seen, other = await asyncio.gather(
        runs.detail(workspace, run.run_id, None), runs.detail(workspace, unpriced.run_id, None)
    )
    assert (seen.executions, seen.total_tokens, str(seen.cost)) == (2, 30, "0.002000000000000000")
    assert seen.output == "four"
    assert other.cost is None


async def test_a_repeated_run_tells_its_executions_apart(
    ingest: Ingest, runs: Runs, completed: Make, as_record: AsRecord, workspace: UUID
) -> None:
    lost = Attempt(number=1, started_at=1, latency_ms=2, outcome="unknown", error="timeout")
    known = Attempt(number=1, started_at=5, latency_ms=2, outcome="known", status_code=200)
    first = completed(status="failed", cost=Cost(priced=False), attempts=[lost])
    again = {"execution_id": new_id(), "completed_at": first.completed_at + 1, "status": "succeeded"}
    priced = {"cost": Cost(priced=True, total=Decimal("0.002")), "attempts": [known]}
    await ingest.store([as_record(run) for run in (first.model_copy(update=again | priced), first)])

    seen = await runs.detail(workspace, first.run_id, None)

    assert [(e.status, e.priced, e.cost) for e in seen.execution_details] == [
        ("failed", False, None),
        ("succeeded", True, Decimal("0.002")),
    ]
    assert [[a.outcome for a in e.attempts] for e in seen.execution_details] == [["unknown"], ["known"]]
    assert seen.execution_details[0].execution_id == str(first.execution_id)
    assert (seen.executions, seen.cost, len(seen.attempts)) == (2, None, 2)
