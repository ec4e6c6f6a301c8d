"""A streamed chat completion, against the same stream straight from the provider in the same minute."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import psutil
from bench.bed import SERVICES, Bed, bed
from bench.load import load
from bench.report import Row
from openai import AsyncOpenAI, DefaultAioHttpClient

WORDS = "Name three rivers, and say where each of them ends."
PACE_MS = 10
ROUNDS = 3
STREAMS = 30
CALLERS = 16
SECONDS = 4

Times = tuple[float, float]
"""In ms: to the first event, and to the end."""

First = Callable[[], Awaitable[Times]]


def measure() -> list[Row]:
    """Return rows: the time to the first event and to the end, and the CPU of a stream."""
    with bed() as tested:
        tested.steer(rules=[{"pace_ms": PACE_MS}])
        return asyncio.run(_measure(tested))


async def _measure(tested: Bed) -> list[Row]:
    token = tested.workspace().client.token
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        ours = _reader(session, f"{tested.stack.url}/v1", "openai/gpt-4o-mini", token)
        direct = _reader(session, f"{tested.simulator.url}/v1", "gpt-4o-mini", "works")
        await _times(ours, 5)
        whole_run = _whole(session, f"{tested.stack.url}/v1", token)
        rounds = [
            (await _times(ours, STREAMS), await _times(direct, STREAMS), await _times(whole_run, STREAMS))
            for _ in range(ROUNDS)
        ]
        spent, spent_by = await _cpu(tested, ours)
    bare = await _bare_cpu(tested)
    first, whole = (_median(rounds, figure) for figure in (0, 1))
    return [
        Row("run without a stream, 1 caller: p50 ms", _alone(rounds), None, "", ""),
        Row("stream, 1 caller: p50 ms to the first event", *first, "straight from the provider", ""),
        Row("stream, 1 caller: added p50 ms to the first event", first[0] - first[1], None, "", "≤ 7"),
        Row("stream, 1 caller: p50 ms to the end", *whole, "straight from the provider", ""),
        Row("stream, 16 callers: CPU ms of all services", spent, bare, "AsyncOpenAI, its own process", ""),
        *(Row(f"stream, 16 callers: CPU ms of {service}", ms, None, "", "") for service, ms in spent_by.items()),
    ]


def _reader(session: aiohttp.ClientSession, base_url: str, model: str, key: str) -> First:
    """Return what asks for a stream and returns the ms to its first event, and to its end."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": WORDS}]}
    headers = {"authorization": f"Bearer {key}"}

    async def read() -> Times:
        began, first = time.perf_counter(), 0.0
        async with session.post(f"{base_url}/chat/completions", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            async for line in answer.content:
                if not first and line.startswith(b"data: "):
                    first = (time.perf_counter() - began) * 1000
            assert line == b"\n"
        return first, (time.perf_counter() - began) * 1000

    return read


async def _times(read: First, count: int) -> Times:
    """Return the medians of so many streams, one after the other."""
    seen = [await read() for _ in range(count)]
    return statistics.median(first for first, _ in seen), statistics.median(end for _, end in seen)


def _whole(session: aiohttp.ClientSession, base_url: str, token: str) -> First:
    """Return what asks for an answer in one piece: the provider writes that without a pause."""
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": WORDS}]}

    async def read() -> Times:
        began = time.perf_counter()
        asked = session.post(f"{base_url}/chat/completions", json=body, headers={"authorization": f"Bearer {token}"})
        async with asked as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()
        took = (time.perf_counter() - began) * 1000
        return took, took

    return read


def _alone(rounds: Sequence[tuple[Times, ...]]) -> float:
    return statistics.median(round_[2][0] for round_ in rounds)


def _median(rounds: Sequence[tuple[Times, ...]], figure: int) -> Times:
    """Return one figure's median over the rounds: ours, and the comparison's."""
    ours, direct = (statistics.median(round_[side][figure] for round_ in rounds) for side in (0, 1))
    return ours, direct


async def _cpu(tested: Bed, read: First) -> tuple[float, dict[str, float]]:
    """Return the CPU ms that a stream takes of all services, and of each."""
    streams = 0

    async def one() -> None:
        nonlocal streams
        await read()
        streams += 1

    before = tested.cpu_seconds()
    await load(one, callers=CALLERS, seconds=SECONDS)
    after = tested.cpu_seconds()
    by_service = {name: (after[name] - before[name]) * 1000 / streams for name in after}
    return sum(by_service[name] for name in SERVICES), by_service


async def _bare_cpu(tested: Bed) -> float:
    """Return the CPU ms that a stream takes of a program that reads it with the official client."""
    base_url = f"{tested.simulator.url}/v1"
    async with AsyncOpenAI(api_key="works", base_url=base_url, http_client=DefaultAioHttpClient()) as client:

        async def one() -> None:
            asked = client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": WORDS}], stream=True
            )
            async for _ in await asked:
                pass

        return (await load(one, callers=CALLERS, seconds=SECONDS, process=psutil.Process())).cpu_ms
