"""What tracing costs: synchronous runs without it, with one run in a hundred, and with every run, by turns."""

import asyncio
import statistics
from contextlib import ExitStack

import aiohttp
from bench.bed import SERVICES, Bed, bed
from bench.load import Call, load
from bench.report import Row
from tests.support.otlp import collecting

SECONDS = 4
ROUNDS = 3
CALLERS = 16
WORDS = "Name three rivers, and say where each of them ends."

Figures = tuple[float, float]
"""p50 in ms of one caller; CPU ms that the services spend on a run while 16 call."""


def measure() -> list[Row]:
    """Return rows: each with what the same costs without tracing."""
    with ExitStack() as opened:
        collector = opened.enter_context(collecting())
        on = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        few = {**on, "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
        beds = [opened.enter_context(bed(**environment)) for environment in ({}, few, on)]
        off, sampled, whole = asyncio.run(_measure(beds))
    return [
        Row("synchronous run, 1 in 100 traced: p50 ms", sampled[0], off[0], "none traced", ""),
        Row("synchronous run, all traced: p50 ms", whole[0], off[0], "none traced", ""),
        Row("CPU ms of all services for a run, 1 in 100 traced", sampled[1], off[1], "none traced", ""),
        Row("CPU ms of all services for a run, all traced", whole[1], off[1], "none traced", ""),
    ]


async def _measure(beds: list[Bed]) -> list[Figures]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        calls = [_caller(tested, session) for tested in beds]
        for call in calls:
            await load(call, callers=CALLERS, seconds=1)
        rounds = [[await _round(tested, call) for tested, call in zip(beds, calls, strict=True)] for _ in range(ROUNDS)]
    return [(statistics.median(p50), statistics.median(cpu)) for p50, cpu in map(_columns, zip(*rounds, strict=True))]


def _columns(figures: tuple[Figures, ...]) -> tuple[list[float], list[float]]:
    return [p50 for p50, _ in figures], [cpu for _, cpu in figures]


async def _round(tested: Bed, call: Call) -> Figures:
    alone = await load(call, callers=1, seconds=SECONDS)
    before = tested.cpu_seconds()
    many = await load(call, callers=CALLERS, seconds=SECONDS)
    after = tested.cpu_seconds()
    spent = sum(after[service] - before[service] for service in SERVICES)
    return alone.p50, spent * 1000 / (many.per_second * SECONDS)


def _caller(tested: Bed, session: aiohttp.ClientSession) -> Call:
    headers = {"authorization": f"Bearer {tested.workspace().client.token}"}
    body = {"provider": "openai", "model": "gpt-4o-mini", "input": WORDS}

    async def call() -> None:
        async with session.post(f"{tested.stack.url}/api/integrations/run", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()

    return call
