"""A year of runs, made inside the engine and counted by the product's own sealer.

`python -m bench.history PATH DATABASE RUNS` fills a database: RUNS of one workspace, and a few of 99 others beside it.
"""

import asyncio
import random
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from analytics.clickhouse import ClickHouse
from analytics.hours import HOUR, Hour
from analytics.sealer import Sealer
from common.ids import now_ms

LARGE = UUID(int=1)
"""The workspace that has most runs."""

OTHERS = [UUID(int=number) for number in range(2, 101)]
EACH = 5_000
BURSTS = 20
"""The others' runs come in so many bursts of an hour."""

YEAR_MS = 365 * 86_400_000
AT_ONCE = 1_000_000
HOURS_AT_ONCE = 1_000
SEED = 20


async def fill(path: Path, name: str, runs: int) -> None:
    """Fill a fresh database; the year ends now."""
    database = ClickHouse(f"chdb://{path}", name)
    await database.migrate()
    now = now_ms()
    await _year(database, LARGE, now - YEAR_MS, YEAR_MS, runs)
    draw = random.Random(SEED)
    for workspace in OTHERS:
        for _ in range(BURSTS):
            begin = now - draw.randrange(1, YEAR_MS // 3_600_000) * 3_600_000
            await _year(database, workspace, begin, 3_600_000, EACH // BURSTS)
    months = await _rows(database, "SELECT DISTINCT toYYYYMM(hour) AS month FROM runs ORDER BY month DESC LIMIT 2")
    for [month] in months:  # requests of older runs change nothing that is asked
        await execute(database, "history_accepted", month=month)
    await seal(database)
    await database.close()


async def _year(database: ClickHouse, workspace: UUID, begin: int, span: int, runs: int) -> None:
    edges = [*range(0, runs, AT_ONCE), runs]
    for first, last in pairwise(edges):
        asked = {"workspace": workspace, "from": begin, "span": span, "runs": runs, "first": first}
        await execute(database, "history_runs", **asked, count=last - first)


async def seal(database: ClickHouse) -> None:
    """Count every hour, as the sealer counts those that are dirty."""
    hours = "SELECT DISTINCT workspace_id, toUnixTimestamp(hour) FROM runs ORDER BY toStartOfDay(hour), workspace_id"
    rows = await _rows(database, hours)
    sealer = Sealer(database, lambda: True)
    for share in _shares([(workspace, at) for workspace, at in rows]):
        await sealer._recompute(share)  # noqa: SLF001


def _shares(hours: list[Hour]) -> Iterable[list[Hour]]:
    """Return the hours in shares that hold whole days."""
    share: list[Hour] = []
    for hour in hours:
        if len(share) >= HOURS_AT_ONCE and hour[1] // (24 * HOUR) != share[-1][1] // (24 * HOUR):
            yield share
            share = []
        share.append(hour)
    if share:
        yield share


async def execute(database: ClickHouse, query: str, **parameters: Any) -> None:
    """Run a statement of `bench/sql`."""
    await database._run(lambda: database._client.command(statement(query), parameters))  # noqa: SLF001


async def _rows(database: ClickHouse, query: str) -> list[list[Any]]:
    return await database._run(lambda: list(database._client.query(query).result_rows))  # noqa: SLF001


def statement(query: str) -> str:
    """Return a statement of `bench/sql`."""
    return (Path(__file__).parent / "sql" / f"{query}.sql").read_text()


if __name__ == "__main__":
    began = time.perf_counter()
    asyncio.run(fill(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    print(f"{int(sys.argv[3]):,} runs made and counted in {time.perf_counter() - began:.0f} s")
