"""What must not stop analytics: an engine that is away or full, garbage, and one very hot hour."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx2
import orjson
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from tests.support.books import assert_exact, drawn, until_counted
from tests.support.clickhouse import running_server
from tests.support.groups import group_state

from analytics import consumer
from analytics.clickhouse import ClickHouse
from analytics.ingest import Ingest
from analytics.sealer import Sealer
from analytics.watermark import Watermark
from common.contracts.runs_v1 import Attempt, RunCompleted
from common.engines.ports import free_port
from common.errors import Unavailable
from common.ids import now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]
Publish = Callable[[list[RunCompleted]], Awaitable[None]]
Start = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

WITHIN = 60

GARBAGE = (
    *("null", "true", "NaN", "-Infinity", "0", "-1", "0.5", "1e400", "-1e-400", "9" * 400, "1e19", "2147483648"),
    *('""', '"NaN"', '"1e999"', '"' + "9" * 400 + '"', '"\\u0000"', '"\\ud83d"', '"' + "x" * 70_000 + '"'),
    *("[]", "{}", "[[[]]]", '{"": ""}', '{"a": {"b": {"c": [1, "x", null]}}}', "[" * 100 + "]" * 100),
    *('{"priced": {"total": 1}}', '{"total": "x"}', '{"input": [1]}', "[1, 2", '{"a"', "'", "\ufeff"),
)
"""What stands in a record instead of a field's value."""


async def _until_status(client: httpx2.AsyncClient, status: int) -> None:
    async with asyncio.timeout(WITHIN):
        while (await client.get("/health/ready")).status_code != status:
            await asyncio.sleep(0.05)


async def test_an_engine_that_freezes_or_is_killed_costs_nothing_but_time(
    start: Start,
    group: str,
    publish: Publish,
    completed: Make,
    workspace: UUID,
    watermark: Watermark,
    clickhouse: tuple[str, str],
    admin: AIOKafkaAdminClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A reader that waits for five minutes is given up by its group; here it is after two seconds.
    monkeypatch.setattr(consumer, "AIOKafkaConsumer", partial(AIOKafkaConsumer, max_poll_interval_ms=2_000))
    draw, port = random.Random(5), free_port()
    published: list[RunCompleted] = []

    async def more() -> None:
        published.extend(events := drawn(completed, workspace, 100, draw))
        await publish(events)

    with running_server(tmp_path, port) as server:
        async with start(group, server.url) as client:
            await more()
            await _until_status(client, 200)
            server.process.send_signal(signal.SIGSTOP)
            await more()
            await _until_status(client, 503)
            async with asyncio.timeout(WITHIN):
                while await group_state(admin, group) != ("Empty", 0):
                    await asyncio.sleep(0.05)
            server.process.send_signal(signal.SIGCONT)
            await _until_status(client, 200)
            await more()
            server.process.kill()
            await more()
            await _until_status(client, 503)
            with running_server(tmp_path, port):
                await _until_status(client, 200)
                database = ClickHouse(server.url, clickhouse[1])
                await until_counted(watermark, database)
                await assert_exact(database, published)
                await database.close()


async def test_a_full_disk_is_waited_out(
    start: Start,
    group: str,
    publish: Publish,
    completed: Make,
    workspace: UUID,
    watermark: Watermark,
    database: ClickHouse,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def reserve(bytes_free: int) -> None:
        setting = f"min_free_disk_bytes_to_perform_insert = {bytes_free}"
        await database._run(lambda: database._client.command(f"ALTER TABLE runs MODIFY SETTING {setting}"))

    published = drawn(completed, workspace, 100, random.Random(6))
    await reserve(10**18)
    async with start(group):
        await publish(published)
        async with asyncio.timeout(WITHIN):
            while "NOT_ENOUGH_SPACE" not in {getattr(record, "kind", "") for record in caplog.records}:
                await asyncio.sleep(0.05)
        assert not await watermark.passes(now_ms(), within=0.5)
        await reserve(0)
        await until_counted(watermark, database)
        await assert_exact(database, published)


@pytest.mark.parametrize("share", [100, pytest.param(100_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(3600)
async def test_garbage_in_any_field_is_stored_or_refused_and_never_waited_out(
    ingest: Ingest, completed: Make, as_record: AsRecord, share: int
) -> None:
    attempt = Attempt(number=1, started_at=1, latency_ms=1, outcome="known")
    run = completed(attempts=[attempt], labels={"team": "a"})
    sound = orjson.loads(run.encode())
    pairs = [(field, garbage) for field in (*RunCompleted.model_fields, "no_such_field") for garbage in GARBAGE]
    seed = random.randrange(2**32)
    chosen = random.Random(seed).sample(pairs, min(share, len(pairs)))
    refused = 0
    for field, garbage in chosen:
        rest = orjson.dumps({name: value for name, value in sound.items() if name != field})
        value = b'{"' + field.encode() + b'":' + garbage.encode() + b"," + rest[1:]
        try:
            refused += len(await ingest.store([as_record(run, value=value)]))
        except Unavailable as error:
            pytest.fail(f"seed {seed}: {field} = {garbage[:40]} is waited out: {error}")
    print(f"seed {seed}: {len(chosen)} records, {refused} refused, none waited out")
    assert 0 < refused < len(chosen)


@pytest.mark.parametrize("events", [1_500, pytest.param(20_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(600)
async def test_of_one_percent_poison_exactly_the_poison_is_set_aside(
    database: ClickHouse, ingest: Ingest, completed: Make, as_record: AsRecord, workspace: UUID, events: int
) -> None:
    draw = random.Random(8)
    good = drawn(completed, workspace, events, draw)
    faults = [
        (b'"succeeded"', b'"triumphant"'),
        (b'"latency_ms":800', b'"latency_ms":1e400'),
        (b'"latency_ms":800', b'"latency_ms":-1'),
        (b'"labels":{}', b'"labels":[1]'),
        (b'"status"', b'"status":"failed","status"'),
    ]
    records = [as_record(run) for run in good]
    poison = []
    for _ in range(events // 100):
        run = completed()
        poison.append(as_record(run, value=run.encode().replace(*draw.choice(faults))))
        records.insert(draw.randrange(len(records)), poison[-1])

    inserts = 0
    inner = database.insert

    async def counted(*arguments: object) -> None:
        nonlocal inserts
        inserts += 1
        await inner(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "insert", counted)
        refused = await ingest.store(records)
    print(f"{len(records)} records, {len(poison)} poison, {inserts} inserts")
    assert {id(row.record) for row in refused} == {id(record) for record in poison}
    assert inserts <= 20 * len(poison)
    while await Sealer(database, lambda: True).seal():
        pass
    await assert_exact(database, good)


@pytest.mark.parametrize(("batches", "events"), [(12, 500), pytest.param(200, 5_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(3600)
async def test_one_very_hot_hour_is_exact_while_it_is_sealed(
    database: ClickHouse,
    ingest: Ingest,
    sealer: Sealer,
    completed: Make,
    as_record: AsRecord,
    workspace: UUID,
    batches: int,
    events: int,
) -> None:
    at, draw = now_ms(), random.Random(9)
    published: list[RunCompleted] = []
    sealing = asyncio.create_task(sealer.run())
    try:
        for _ in range(batches):
            runs = [run.model_copy(update={"accepted_at": at}) for run in drawn(completed, workspace, events, draw)]
            published += runs
            assert await ingest.store([as_record(run) for run in runs]) == []
    finally:
        sealing.cancel()
        with suppress(asyncio.CancelledError):
            await sealing
    while await sealer.seal():
        pass
    await assert_exact(database, published)
