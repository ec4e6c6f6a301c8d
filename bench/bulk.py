"""Bulk runs: what the services get through and what each costs them, against a bare loop in the same minute."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from bench.backlog import publish
from bench.bed import SERVICES, Bed, bed
from bench.journal import Journal, journal
from bench.report import Row

RUNS = 6_000
ROUNDS = 3
AT_ONCE = 32
"""Where the bare loop takes least CPU a call: with a hundred connections its pool alone costs a millisecond more."""

LATENCY_MS = 20
BARE = "bare AsyncOpenAI"


@dataclass(frozen=True)
class Round:
    """Runs a second from the first completion to the last, and the CPU ms of each process for one run."""

    per_second: float
    cpu_ms: Mapping[str, float]

    @property
    def services(self) -> float:
        """CPU ms of all services for one run."""
        return sum(self.cpu_ms[service] for service in SERVICES)


def measure() -> list[Row]:
    """Alternate between the two, so that a machine that slows down slows both."""
    with bed(RUNNER_SLOTS=str(AT_ONCE)) as tested:
        tested.steer(latency_ms=LATENCY_MS)
        asyncio.run(_ours(tested, RUNS // 10))  # connections are open and code is warm, as in the loop's long run
        rounds = [(asyncio.run(_ours(tested, RUNS)), bare(tested, RUNS)) for _ in range(ROUNDS)]
    ours, loop = [ours for ours, _ in rounds], [loop for _, loop in rounds]
    return [*_compared(ours, loop), *(_by_process(ours, process) for process in (*SERVICES, "kafka"))]


def _compared(ours: list[Round], loop: list[Round]) -> list[Row]:
    bare_cpu = median(b.cpu_ms["loop"] for b in loop)
    all_services = median(o.services for o in ours)
    whole = median(sum(o.cpu_ms.values()) for o in ours)
    return [
        Row("bulk runs/s", median(o.per_second for o in ours), median(b.per_second for b in loop), BARE, ""),
        Row("bulk run: CPU ms of all services", all_services, bare_cpu, BARE, "< 1.00"),
        Row("bulk run: CPU ms with the broker", whole, bare_cpu, BARE, ""),
    ]


def _by_process(ours: list[Round], process: str) -> Row:
    return Row(f"bulk run: CPU ms of {process}", median(o.cpu_ms[process] for o in ours), None, "", "")


async def _ours(tested: Bed, runs: int) -> Round:
    workspace = tested.workspace()
    async with journal(tested.stack.kafka) as ended:
        before = tested.cpu_seconds()
        await publish(tested.stack.kafka, workspace, runs)
        rate = await per_second(ended, runs)
        await asyncio.to_thread(tested.until_counted, workspace, runs)
        after = tested.cpu_seconds()
    return Round(rate, {name: 1000 * (after[name] - before[name]) / runs for name in after})


async def per_second(ended: Journal, runs: int) -> float:
    """Return how many runs ended a second, once so many have, by the broker's clock."""
    await ended.until(runs)
    times = [record.timestamp for record in await ended.first(runs)]
    return 1000 * runs / (max(times) - min(times))


def bare(tested: Bed, runs: int) -> Round:
    """Return what a bare loop makes of as many calls."""
    script = [sys.executable, "-m", "bench.loop", f"{tested.simulator.url}/v1", str(runs), str(AT_ONCE)]
    saw = json.loads(subprocess.run(script, capture_output=True, check=True).stdout)
    assert saw["succeeded"] == runs, saw
    return Round(saw["per_second"], {"loop": saw["cpu_ms"]})
