"""The memory of one runner against a backlog of a million runs, every second, as a picture."""

import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from bench.backlog import publish
from bench.bed import Bed, bed
from bench.journal import journal
from bench.plot import Point, plot
from bench.report import Row

RUNS = 1_000_000
SLOTS = 100
LATENCY_MS = 500
SECONDS = 180
"""From the first run published on; publishing takes about the first minute."""

SETTLED_SECONDS = 10
PICTURE = Path(__file__).parent / "memory.svg"
MB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """Seconds since the first run was published, the runner's resident MB, and how many runs have ended."""

    at: float
    mb: float
    ended: int


def measure() -> list[Row]:
    """Return rows: what the backlog adds to the runner, and whether that grows with time."""
    with bed(RUNNER_SLOTS=str(SLOTS)) as tested:
        tested.steer(latency_ms=LATENCY_MS)
        idle = tested.process("runner").memory_info().rss / MB
        samples = asyncio.run(_sampled(tested))
    points = [Point(sample.at, sample.mb) for sample in samples]
    PICTURE.write_text(plot(points, "seconds", f"MB resident, {samples[-1].ended:,} of {RUNS:,} runs ended"))
    return _rows(idle, samples)


def _rows(idle: float, samples: list[Sample]) -> list[Row]:
    settled = [sample for sample in samples if sample.at >= SETTLED_SECONDS]
    slope = statistics.linear_regression([s.at for s in settled], [s.mb for s in settled]).slope
    what = f"runner, {RUNS:,} runs waiting: MB"
    return [
        Row(f"{what} before them", idle, None, "", ""),
        Row(f"{what} after {SETTLED_SECONDS} s", settled[0].mb, idle, "idle", ""),
        Row(f"{what} at most", max(s.mb for s in samples), idle, "idle", "idle + 50"),
        Row(f"{what} after {samples[-1].at:.0f} s", samples[-1].mb, idle, "idle", ""),
        Row(f"{what} a minute of slope after the first {SETTLED_SECONDS} s", 60 * slope, None, "", "flat"),
        Row("runs ended meanwhile", samples[-1].ended, None, "", ""),
    ]


async def _sampled(tested: Bed) -> list[Sample]:
    """Sample every second from the first run published on."""
    workspace, runner = await asyncio.to_thread(tested.workspace), tested.process("runner")
    async with journal(tested.stack.kafka) as ended:
        publishing = asyncio.create_task(publish(tested.stack.kafka, workspace, RUNS))
        began, samples = time.monotonic(), list[Sample]()
        while (at := time.monotonic() - began) < SECONDS:
            samples.append(Sample(at, runner.memory_info().rss / MB, await ended.appended()))
            await asyncio.sleep(1)
        assert publishing.done(), "the backlog is not complete"
        await publishing
    return samples
