"""One batch, asked for while it runs: everything that ended once, and nothing twice."""

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
import pytest
from aiokafka import ConsumerRecord

from analytics import batches as domain
from analytics.batches import Batches, Span, Stored
from analytics.clickhouse import ClickHouse
from analytics.ingest import Ingest
from common.contracts.batch_answers_v1 import BatchRow
from common.contracts.runs_v1 import LATEST, Cost, RunCompleted, RunError, RunRequested, Usage
from common.contracts.topics import BATCHED, COMPLETED, PARTITIONS
from common.errors import InvalidRequest
from common.ids import named_run_id, new_id, now_ms
from common.kafka import Publisher, Record

Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]
AsRecord = Callable[..., Record]
Start = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

BATCH = "batch_1"
ALWAYS = Span(0, LATEST)
WITHIN = 30


class PlayedLog:
    """A log of which all is stored up to an offset that the test sets, in every partition."""

    def __init__(self) -> None:
        self.stored = Stored(1, {COMPLETED.name: [100_000] * PARTITIONS})


@pytest.fixture
def log() -> PlayedLog:
    return PlayedLog()


@pytest.fixture
def batches(database: ClickHouse, log: PlayedLog) -> Batches:
    return Batches(database, log)


def at(run: RunCompleted, partition: int, offset: int, topic: str = COMPLETED.name) -> Record:
    """Return the record of this completion at a place in the log."""
    value = run.encode()
    return ConsumerRecord(topic, partition, offset, now_ms(), 1, None, value, None, 0, len(value), tuple(run.headers()))


async def read(batches: Batches, workspace: UUID, limit: int = 1000, *, texts: bool = False) -> list[BatchRow]:
    """Return what all pages hold."""
    rows: list[BatchRow] = []
    cursor = None
    while True:
        page = await batches.rows(workspace, BATCH, cursor, limit, texts=texts)
        cursor, rows = page.next_cursor, [*rows, *page.rows]
        if not page.rows:
            return rows


async def test_a_row_tells_everything_of_its_execution(
    ingest: Ingest, batches: Batches, completed: Make, workspace: UUID
) -> None:
    run = completed(
        batch_id=BATCH,
        custom_id="row-1",
        status="failed",
        output=None,
        error=RunError(code="rate_limited", message="slow down", retry_at=1_800_000_000_000),
        usage=Usage(input=10, output=5, cached=3, cache_writes=2, reasoning=1),
        cost=Cost(priced=False),
        served_model="gpt-4o-mini-2024-07-18",
        finish_reason="length",
        response='{"a": "verbatim"}',
        truncated=True,
    )
    await ingest.store([at(run, 3, 7)])
    (row,) = (await batches.rows(workspace, BATCH, None, 10, texts=True)).rows
    assert (row.run_id, row.execution_id, row.custom_id, row.status) == (
        run.run_id,
        run.execution_id,
        "row-1",
        "failed",
    )
    assert (row.error_code, row.error, row.retry_at) == ("rate_limited", "slow down", 1_800_000_000_000)
    assert (row.cost, row.priced, row.usage.total, row.usage.cache_writes) == (None, False, 15, 2)
    assert (row.model, row.served_model, row.finish_reason) == ("gpt-4o-mini", "gpt-4o-mini-2024-07-18", "length")
    assert (row.provider, row.operation, row.truncated) == ("openai", "chat", True)
    assert (row.latency, row.completed_at) == (800, run.completed_at)
    assert (row.output, row.response) == (None, '{"a": "verbatim"}')
    (silent,) = (await batches.rows(workspace, BATCH, None, 10, texts=False)).rows
    assert (silent.output, silent.response) == (None, None)


async def test_what_is_not_known_to_be_stored_waits_for_the_next_look(
    ingest: Ingest, batches: Batches, log: PlayedLog, completed: Make, workspace: UUID
) -> None:
    runs = [completed(batch_id=BATCH) for _ in range(4)]
    await ingest.store([at(run, n % 2, n) for n, run in enumerate(runs)])
    log.stored = Stored(1, {COMPLETED.name: [1, 2]})
    first = await batches.rows(workspace, BATCH, None, 10, texts=False)
    log.stored = Stored(2, {COMPLETED.name: [10, 10]})
    rest = await batches.rows(workspace, BATCH, first.next_cursor, 10, texts=False)
    assert [row.run_id for row in first.rows] == [runs[0].run_id, runs[1].run_id]
    assert [row.run_id for row in rest.rows] == [runs[2].run_id, runs[3].run_id]
    assert (first.read_up_to, rest.read_up_to) == (1, 2)
    assert (await batches.rows(workspace, BATCH, rest.next_cursor, 10, texts=False)).rows == []


async def test_an_execution_that_was_appended_twice_is_one_row_for_every_reader(
    ingest: Ingest, batches: Batches, completed: Make, workspace: UUID
) -> None:
    run, other = completed(batch_id=BATCH), completed(batch_id=BATCH)
    await ingest.store([at(run, 0, 5)])
    page = await batches.rows(workspace, BATCH, None, 10, texts=False)
    await ingest.store([at(run, 0, 5), at(run, 0, 9), at(other, 0, 10)])  # read again, and sent again
    later = await batches.rows(workspace, BATCH, page.next_cursor, 10, texts=False)
    assert [row.run_id for row in later.rows] == [other.run_id]
    assert [row.run_id for row in await read(batches, workspace)] == [run.run_id, other.run_id]
    totals = await batches.totals(workspace, BATCH, ALWAYS)
    assert (totals.runs, totals.executions, totals.cost) == (2, 2, Decimal("0.002"))


async def test_a_run_that_was_carried_out_twice_is_two_rows_and_one_run(
    ingest: Ingest, batches: Batches, completed: Make, workspace: UUID
) -> None:
    run = completed(batch_id=BATCH, status="failed")
    again = run.model_copy(
        update={"execution_id": new_id(), "status": "succeeded", "completed_at": run.completed_at + 1}
    )
    await ingest.store([at(again, 4, 1), at(run, 4, 2)])
    assert [row.status for row in await read(batches, workspace)] == ["succeeded", "failed"]
    totals = await batches.totals(workspace, BATCH, ALWAYS)
    assert (totals.runs, totals.executions, totals.failed, totals.succeeded) == (1, 2, 1, 0)
    assert (totals.cost, totals.input_tokens, totals.output_tokens) == (Decimal("0.002"), 20, 10)


async def test_totals_are_exact_and_tell_every_kind_of_end(
    ingest: Ingest, batches: Batches, completed: Make, requested: Request, as_record: AsRecord, workspace: UUID
) -> None:
    asked = [requested(batch_id=BATCH, custom_id=f"row-{n}") for n in range(7)]
    ends = ["succeeded", "succeeded", "failed", "expired", "cancelled", "cancelled"]
    runs = [
        completed(
            run_id=run.run_id, accepted_at=run.accepted_at, batch_id=BATCH, custom_id=run.custom_id, status=status
        )
        for run, status in zip(asked, ends, strict=False)
    ]
    dear = Cost(priced=True, total=Decimal("123456.000000000000000001"))
    runs[0] = runs[0].model_copy(update={"cost": dear})
    runs[1] = runs[1].model_copy(update={"cost": Cost(priced=False)})
    elsewhere = completed(batch_id="batch_2"), completed(batch_id=BATCH, workspace_id=new_id()), completed()
    await ingest.store([as_record(run, BATCHED.name) for run in (*asked, *asked)])
    await ingest.store([at(run, n, n) for n, run in enumerate([*runs, *elsewhere])])
    totals = await batches.totals(workspace, BATCH, ALWAYS)
    assert (totals.accepted, totals.runs, totals.executions, totals.unpriced) == (7, 6, 6, 1)
    assert (totals.succeeded, totals.failed, totals.expired, totals.cancelled) == (2, 1, 1, 2)
    assert totals.cost == Decimal("123456.004000000000000001")
    assert (totals.input_tokens, totals.output_tokens) == (60, 30)
    none = await batches.totals(workspace, "batch_3", ALWAYS)
    assert (none.accepted, none.runs, none.cost) == (0, 0, Decimal(0))
    assert [row.run_id for row in await read(batches, workspace)] == [run.run_id for run in runs]


async def test_totals_of_a_span_count_what_was_accepted_in_it(
    ingest: Ingest, batches: Batches, completed: Make, requested: Request, as_record: AsRecord, workspace: UUID
) -> None:
    now = now_ms()
    times = [now - 7_200_000, now - 1, now]
    await ingest.store([as_record(requested(batch_id=BATCH, accepted_at=time), BATCHED.name) for time in times])
    await ingest.store([at(completed(batch_id=BATCH, accepted_at=time), 0, n) for n, time in enumerate(times)])
    totals = await batches.totals(workspace, BATCH, Span(now - 1, now))
    assert (totals.accepted, totals.runs) == (1, 1)


async def test_runs_that_reached_the_log_are_paged_by_id(
    ingest: Ingest, batches: Batches, requested: Request, as_record: AsRecord, workspace: UUID
) -> None:
    ids = {named_run_id(BATCH, str(n), "0"): f"row-{n}" for n in range(20)}
    asked = [requested(run_id=run_id, batch_id=BATCH, custom_id=custom) for run_id, custom in ids.items()]
    others = requested(batch_id="batch_2"), requested()
    await ingest.store([as_record(run, BATCHED.name) for run in (*asked, *others, *asked)])
    for limit, wanted in ((1, 20), (7, 3), (20, 1), (1000, 1)):
        found: list[tuple[UUID, str | None]] = []
        page, pages = await batches.accepted(workspace, BATCH, ALWAYS, None, limit), 1
        found += ((row.run_id, row.custom_id) for row in page.rows)
        while page.next_cursor:
            page, pages = await batches.accepted(workspace, BATCH, ALWAYS, UUID(page.next_cursor), limit), pages + 1
            found += ((row.run_id, row.custom_id) for row in page.rows)
        assert found == sorted(ids.items(), key=lambda item: item[0].int)
        assert pages == wanted


async def test_pages_hold_every_row_once_whatever_their_size(
    ingest: Ingest, batches: Batches, completed: Make, workspace: UUID
) -> None:
    runs = [completed(batch_id=BATCH, output=f"answer {n}") for n in range(20)]
    await ingest.store([at(run, n % 3, n) for n, run in enumerate(runs)])
    for limit in (1, 3, 50):
        rows = await read(batches, workspace, limit, texts=True)
        assert {row.run_id: row.output for row in rows} == {run.run_id: run.output for run in runs}
        assert len(rows) == 20


async def test_pages_with_texts_are_bounded_in_bytes(
    ingest: Ingest, batches: Batches, completed: Make, workspace: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "PAGE_BYTES", 30_000)
    runs = [completed(batch_id=BATCH, output="x" * size) for size in (10_000, 10_000, 10_000, 100_000, 10)]
    await ingest.store([at(run, 0, n) for n, run in enumerate(runs)])
    sizes: list[int] = []
    cursor = None
    while page := await batches.rows(workspace, BATCH, cursor, 100, texts=True):
        if not page.rows:
            break
        sizes.append(len(page.rows))
        cursor = page.next_cursor
    assert sizes == [2, 1, 1, 1]
    assert len((await batches.rows(workspace, BATCH, None, 100, texts=False)).rows) == 5


async def test_texts_of_a_single_run_of_a_batch_are_found(
    ingest: Ingest, database: ClickHouse, completed: Make, workspace: UUID
) -> None:
    run = completed(batch_id=BATCH)
    await ingest.store([at(run, 2, 3)])
    (text,) = await database.rows(
        "run_text",
        workspace=workspace,
        hour=run.accepted_at // 3_600_000 * 3600,
        run_id=run.run_id,
        execution_id=run.execution_id,
    )
    assert text["output"] == "four"


async def test_both_generations_of_topics_are_read(
    ingest: Ingest,
    batches: Batches,
    log: PlayedLog,
    completed: Make,
    workspace: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("analytics.ingest.COMPLETED_TOPICS", {COMPLETED.name, "second"})
    log.stored = Stored(1, {COMPLETED.name: [10] * 3, "second": [10] * 20})
    runs = [completed(batch_id=BATCH) for _ in range(4)]
    places = (0, 1, COMPLETED.name), (2, 1, COMPLETED.name), (0, 1, "second"), (19, 1, "second")
    await ingest.store([at(run, *place) for run, place in zip(runs, places, strict=True)])
    for limit in (1, 3, 4, 9):
        assert [row.run_id for row in await read(batches, workspace, limit)] == [run.run_id for run in runs]


async def test_a_cursor_that_is_none_is_told(batches: Batches, workspace: UUID) -> None:
    for cursor in ("nonsense", "e30", "WzFd", "eyJ0IjpbLTFdfQ=="):  # the last ones: {} cut off, [1], {"t":[-1]}
        with pytest.raises(InvalidRequest, match="after"):
            await batches.rows(workspace, BATCH, cursor, 10, texts=False)


class Reader:
    """Reads a batch on and on, as the gateway does, from whichever client it is given."""

    def __init__(self, workspace: UUID, limit: int) -> None:
        self._path = f"/workspaces/{workspace}/batches/{BATCH}/rows"
        self._limit = limit
        self._cursor = ""
        self.seen: list[str] = []
        self.pages = 0

    async def until(self, client: httpx2.AsyncClient, count: int) -> None:
        async with asyncio.timeout(WITHIN):
            while len(self.seen) < count:
                if not await self.page(client):
                    await asyncio.sleep(0.02)

    async def page(self, client: httpx2.AsyncClient) -> int:
        asked = {"limit": str(self._limit), **({"after": self._cursor} if self._cursor else {})}
        answer = (await client.get(self._path, params=asked)).raise_for_status().json()["data"]
        self._cursor = answer["nextCursor"]
        self.seen += (row["executionId"] for row in answer["rows"])
        self.pages += 1
        return len(answer["rows"])


async def _send(publisher: Publisher, runs: Iterable[RunCompleted]) -> None:
    sends = (publisher.send(COMPLETED.name, run.encode(), key=run.run_id.bytes, headers=run.headers()) for run in runs)
    await asyncio.gather(*sends)


def _drawn(completed: Make, count: int, draw: random.Random) -> list[RunCompleted]:
    """Draw completions, some carried out twice, some told twice, and some of others."""
    runs = [completed(batch_id=BATCH, accepted_at=now_ms() - draw.randrange(7_200_000)) for _ in range(count)]
    again = [run.model_copy(update={"execution_id": new_id()}) for run in draw.sample(runs, count // 10)]
    others = [completed(batch_id=draw.choice([None, "batch_2"])) for _ in range(count)]
    told = [*runs, *again, *others, *draw.sample(runs, count // 5)]
    draw.shuffle(told)
    return told


def _of_batch(told: Sequence[RunCompleted]) -> set[str]:
    return {str(run.execution_id) for run in told if run.batch_id == BATCH}


@pytest.mark.parametrize(("rounds", "count"), [(3, 300), pytest.param(40, 3_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(1800)
async def test_a_reader_that_goes_on_misses_none_and_sees_none_twice(
    start: Start, group: str, publisher: Publisher, completed: Make, workspace: UUID, rounds: int, count: int
) -> None:
    """It reads while records arrive in every partition, over restarts of analytics, and while all is read again."""
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    reader, sent = Reader(workspace, limit=draw.choice([7, 100, 1000])), list[RunCompleted]()
    for n in range(rounds):
        sent += (told := _drawn(completed, count, draw))
        # Every other time under a group that has read nothing yet: the whole topic once more, into the same tables.
        async with start(group if n % 2 else f"{group}-{n}") as client:
            sending = asyncio.create_task(_send(publisher, told))
            await reader.until(client, len(_of_batch(sent)))
            await sending
            assert await reader.page(client) == 0
    assert len(reader.seen) == len(set(reader.seen)), "seen twice"
    assert set(reader.seen) == _of_batch(sent)
    print(f"seed {seed}: {rounds} starts, {len(sent)} records, {len(reader.seen)} rows once each, {reader.pages} pages")


async def test_the_gateway_asks_over_http(
    start: Start, group: str, publisher: Publisher, completed: Make, requested: Request, workspace: UUID, grant: Any
) -> None:
    asked = requested(batch_id=BATCH, custom_id="a")
    await publisher.send(BATCHED.name, asked.encode(), headers=[*asked.headers(), grant])
    run = completed(run_id=asked.run_id, accepted_at=asked.accepted_at, batch_id=BATCH, custom_id="a")
    await _send(publisher, [run])
    path, before = f"/workspaces/{workspace}/batches/{BATCH}", now_ms()
    async with start(group) as client, asyncio.timeout(WITHIN):
        while (await client.get(f"{path}/totals")).json()["data"]["readUpTo"] < before:
            await asyncio.sleep(0.05)
        rows = (await client.get(f"{path}/rows", params={"texts": "true"})).raise_for_status()
        accepted = (await client.get(f"{path}/accepted", params={"since": str(asked.accepted_at)})).raise_for_status()
        later = (await client.get(f"{path}/accepted", params={"since": str(asked.accepted_at + 1)})).raise_for_status()
        totals = (await client.get(f"{path}/totals")).raise_for_status()
        refused = await client.get(f"{path}/rows", params={"after": "x"})
        foreign = (await client.get(f"/workspaces/{new_id()}/batches/{BATCH}/rows")).raise_for_status()
    (row,) = json.loads(rows.content, parse_float=Decimal)["data"]["rows"]
    assert (row["runId"], row["customId"], row["output"], row["cost"]) == (
        str(run.run_id),
        "a",
        "four",
        Decimal("0.001"),
    )
    assert accepted.json()["data"]["rows"] == [{"runId": str(run.run_id), "customId": "a"}]
    assert later.json()["data"]["rows"] == []
    assert (totals.json()["data"]["accepted"], totals.json()["data"]["succeeded"]) == (1, 1)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert foreign.json()["data"]["rows"] == []
