"""Ingest: how many runs a second analytics stores and counts while it is asked, and how fresh a 5M-run hour is."""

import asyncio
import os
import time
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient
from bench.alone import Place, Service, place, service
from bench.flood import flood
from bench.history import LARGE, execute
from bench.load import Seen, load
from bench.report import Row

from analytics.clickhouse import ClickHouse
from analytics.ingest import MARKS, mark_row
from common.contracts.topics import COMPLETED, REQUESTED
from common.ids import new_id, now_ms

RUNS = int(os.environ.get("BENCH_INGESTED", "400000"))
HOUR_RUNS = int(os.environ.get("BENCH_HOUR_RUNS", "5000000"))
WORKSPACES = [UUID(int=number) for number in range(1, 21)]
HOUR_MS = 3_600_000
ALONE_SECONDS = 5
SHOWN = 5
"""Runs that are waited for, one after the other."""


def measure() -> list[Row]:
    """Return rows: the backlog's rate with queries beside it, and what the fullest hour delays."""
    with place() as where:
        rows = asyncio.run(_backlog(where))
    with place() as where:
        asyncio.run(_fill_hour(where))
        return [*rows, *asyncio.run(_freshness(where))]


async def _backlog(where: Place) -> list[Row]:
    """Let it read what lies in Kafka from both topics, in turns with and without queries."""
    await flood(where.kafka, where.signer(), WORKSPACES, RUNS)
    async with service(where, "ingest") as tested:
        began = time.perf_counter()
        asked = asyncio.create_task(_asked_until_read(where, tested))
        beside = await asked
        took = time.perf_counter() - began
        alone = await load(tested.asking(LARGE, "overview", period="30d"), callers=1, seconds=ALONE_SECONDS)
        counted = await _counted(tested)
    assert counted == RUNS, f"{counted:,} of {RUNS:,} runs were counted"
    return [
        Row(
            "runs/s stored from Kafka, request and completion, sealing on, one caller asking",
            RUNS / took,
            None,
            "",
            "≥ 50,000",
        ),
        Row("overview while it stores: p99 ms", beside.p99, alone.p99, "idle", "< 2.00"),
        Row("overview while it stores: p50 ms", beside.p50, alone.p50, "idle", ""),
    ]


async def _asked_until_read(where: Place, tested: Service) -> Seen:
    ask = tested.asking(LARGE, "overview", period="30d")
    rounds = []
    while not await _all_read(where, "ingest"):
        rounds.append(await load(ask, callers=1, seconds=1))
    return max(rounds, key=lambda seen: seen.p99)


async def _all_read(where: Place, group: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=where.kafka)
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    return (
        sum(told.offset for part, told in committed.items() if part.topic in (COMPLETED.name, REQUESTED.name))
        >= 2 * RUNS
    )


async def _counted(tested: Service) -> int:
    """Return the runs that are counted once that stops growing."""
    before, now = -1, 0
    while now > before:
        before = now
        await asyncio.sleep(6)
        now = sum([(await tested.answer(each, "overview"))["overview"]["totalRuns"] for each in WORKSPACES])
    return now


async def _fill_hour(where: Place) -> None:
    """Put so many runs into the hour that ends now, as if they had been read, and leave their counting to it."""
    database = ClickHouse(f"chdb://{where.clickhouse}", "hour")
    await database.migrate()
    hour = now_ms() // HOUR_MS * HOUR_MS
    span = max(60_000, now_ms() - hour)
    for first in range(0, HOUR_RUNS, 500_000):
        asked = {"workspace": LARGE, "from": hour, "span": span, "runs": HOUR_RUNS, "first": first}
        await execute(database, "history_runs", **asked, count=min(500_000, HOUR_RUNS - first))
    await database.insert(MARKS, [mark_row((LARGE, hour // 1000), "fresh", new_id(), marked_at=now_ms())])
    await database.close()


async def _freshness(where: Place) -> list[Row]:
    async with service(where, "hour") as tested:
        total = HOUR_RUNS
        await _until_total(tested, total)
        waits = []
        for _ in range(SHOWN):
            await flood(where.kafka, where.signer(), [LARGE], 1)
            began, total = time.perf_counter(), total + 1
            await _until_total(tested, total)
            waits.append(time.perf_counter() - began)
    what = f"from a run's completion to its place in the overview, {HOUR_RUNS / 1e6:g}M runs in its hour: s"
    return [Row(f"{what}, at most", max(waits), None, "", "≤ 10"), Row(f"{what}, at least", min(waits), None, "", "")]


async def _until_total(tested: Service, total: int) -> None:
    while (await tested.answer(LARGE, "overview", period="7d"))["overview"]["totalRuns"] < total:
        await asyncio.sleep(0.05)
