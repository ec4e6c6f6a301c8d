"""A closed loop of callers, and what they saw."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil

Call = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Seen:
    """One round: calls a second, latencies in ms, and the CPU ms that the watched process spent on each call."""

    per_second: float
    p50: float
    p95: float
    p99: float
    cpu_ms: float


async def load(call: Call, *, callers: int, seconds: float, process: psutil.Process | None = None) -> Seen:
    """Let so many callers call one after the other for so long."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (began := time.perf_counter()) < end:
            await call()
            latencies.append((time.perf_counter() - began) * 1000)

    before, began = _cpu(process), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took, spent = time.perf_counter() - began, _cpu(process) - before
    quantiles = statistics.quantiles(latencies, n=100)
    return Seen(len(latencies) / took, quantiles[49], quantiles[94], quantiles[98], spent * 1000 / len(latencies))


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0
    times = process.cpu_times()
    return times.user + times.system


def median(rounds: list[Seen]) -> Seen:
    """Return the median of each figure over the rounds."""
    return Seen(
        statistics.median(r.per_second for r in rounds),
        statistics.median(r.p50 for r in rounds),
        statistics.median(r.p95 for r in rounds),
        statistics.median(r.p99 for r in rounds),
        statistics.median(r.cpu_ms for r in rounds),
    )
