"""A year of 20M runs: what the overview and usage take at the service, as it grows, and in Postgres in the same run."""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
from bench.alone import Place, Service, fill, place, service
from bench.history import LARGE, OTHERS, statement
from bench.load import Seen, load
from bench.report import Row

from common.engines.postgres import start_postgres

RUNS = int(os.environ.get("BENCH_RUNS", "20000000"))
SMALLER = RUNS // 10
POSTGRES_RUNS = SMALLER
"""Fewer: twenty million rows take it minutes to write. Its time grows with them."""

SECONDS = 5
CALLERS = 16
PERIODS = ("7d", "30d", "90d", "1y")
GREW = "overview, 1 year"

QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "usage by model and day, 90 days, UTC (days)": ("usage", {"period": "90d", "by": ["model", "day"]}),
    "usage by day, 30 days, Europe/Berlin (hours)": ("usage", {"period": "30d", "by": "day", "tz": "Europe/Berlin"}),
    "usage by prompt, 7 days (runs)": ("usage", {"period": "7d", "by": "prompt"}),
    "latency by model, 7 days (runs)": ("latency", {"period": "7d", "by": "model"}),
}


def measure() -> list[Row]:
    """Return rows: the large history's overview beside a tenth of it, other questions, and Postgres."""
    with place() as where:
        fill(where, "smaller", SMALLER)
        fill(where, "whole", RUNS)
        smaller, _ = asyncio.run(_asked(where, "smaller", {}))
        whole, questions = asyncio.run(_asked(where, "whole", QUESTIONS))
    in_postgres = _postgres(POSTGRES_RUNS)
    return [
        *_compared(whole, smaller, in_postgres),
        *(Row(f"{what}: p50 ms", seen.p50, None, "", "") for what, seen in questions.items()),
    ]


def _compared(whole: list[Seen], smaller: list[Seen], in_postgres: float) -> Iterable[Row]:
    one, many, mixed = whole
    what = f"{GREW}, {RUNS / 1e6:g}M runs"
    tenth = f"{SMALLER / 1e6:g}M runs"
    yield Row(f"{what}, 1 caller: p50 ms", one.p50, smaller[0].p50, tenth, "≤ 15, < 1.50")
    yield Row(f"{what}, 1 caller: p50 ms", one.p50, in_postgres, f"the same sums in Postgres, {tenth}", "")
    yield Row(f"{what}, {CALLERS} callers: p99 ms", many.p99, smaller[1].p99, tenth, "≤ 150")
    yield Row(f"{what}, {CALLERS} callers: answers/s", many.per_second, smaller[1].per_second, tenth, "")
    yield Row(f"overviews of 100 workspaces, {CALLERS} callers: p99 ms", mixed.p99, smaller[2].p99, tenth, "≤ 150")


async def _asked(where: Place, database: str, questions: dict[str, Any]) -> tuple[list[Seen], dict[str, Seen]]:
    async with service(where, database) as tested:
        overview = tested.asking(LARGE, "overview", period="1y")
        await load(overview, callers=1, seconds=1)
        rounds = [
            await load(overview, callers=1, seconds=SECONDS),
            await load(overview, callers=CALLERS, seconds=SECONDS),
            await load(_of_all(tested), callers=CALLERS, seconds=SECONDS),
        ]
        told = {
            what: await load(tested.asking(LARGE, path, **asked), callers=1, seconds=SECONDS)
            for what, (path, asked) in questions.items()
        }
    return rounds, told


def _of_all(tested: Service) -> Callable[[], Awaitable[None]]:
    """Ask for a different workspace and period each time: nothing is answered together."""
    turns = cycle([(workspace, period) for period in PERIODS for workspace in (LARGE, *OTHERS)])

    async def ask() -> None:
        workspace, period = next(turns)
        await tested.answer(workspace, "overview", period=period)

    return ask


def _postgres(runs: int) -> float:
    """Return the median ms of the overview's sums over a year, with an index on workspace and time."""
    with tempfile.TemporaryDirectory(prefix="tallyrun-bench-") as folder:
        server = start_postgres(Path(folder) / "data")
        try:
            asyncio.run(server.create_database("bench"))
            return asyncio.run(_aggregated(str(server.socket_dir), runs))
        finally:
            server.stop()


async def _aggregated(socket: str, runs: int) -> float:
    connection = await asyncpg.connect(host=socket, user="postgres", database="bench")
    try:
        for part in (statement("postgres_runs") % {"runs": runs}).split(";\n"):
            await connection.execute(part)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await connection.fetch(statement("postgres_overview"))
            times.append(1000 * (time.perf_counter() - began))
        return median(times)
    finally:
        await connection.close()
