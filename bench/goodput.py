"""What gets through a provider that allows so many calls a second, against a bare loop with the SDK's own retries."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

import orjson
from bench.backlog import publish
from bench.bed import Bed, bed
from bench.journal import journal
from bench.report import Row

PER_SECOND = 50
BURST = 10
LATENCY_MS = 200
AT_ONCE = 200
"""Far more than the limit feeds (50 a second of 200 ms each keep ten calls busy): whoever calls must hold back."""

RUNS = 20_000
WARM_SECONDS = 10
SECONDS = 30
BARE = "bare AsyncOpenAI with its own retries"


@dataclass(frozen=True)
class Seen:
    """Shares: of the limit that succeeded, of the runs that ended as failed; and calls refused for each success."""

    goodput: float
    failed: float
    refused: float


def measure() -> list[Row]:
    """Return rows: the share of the limit that succeeds, what fails for good, and what is called in vain."""
    with bed(RUNNER_SLOTS=str(AT_ONCE)) as tested:
        tested.steer(latency_ms=LATENCY_MS, limit={"per_second": PER_SECOND, "burst": BURST})
        bare, ours = asyncio.run(_bare(tested)), asyncio.run(_ours(tested))
    what = f"provider that allows {PER_SECOND} calls/s"
    return [
        Row(f"{what}: succeeded, share of that", ours.goodput, bare.goodput, BARE, "≥ 0.90"),
        Row(f"{what}: runs that end as failed, %", 100 * ours.failed, 100 * bare.failed, BARE, "0"),
        Row(f"{what}: calls refused for each success", ours.refused, bare.refused, BARE, ""),
    ]


async def _ours(tested: Bed) -> Seen:
    workspace = await asyncio.to_thread(tested.workspace)
    async with journal(tested.stack.kafka) as ended:
        published = asyncio.create_task(publish(tested.stack.kafka, workspace, RUNS))
        goodput, refused = await _watched(tested)
        await published
        records = await ended.first(await ended.appended())
    statuses = Counter(orjson.loads(record.value or b"{}").get("status") for record in records)
    return Seen(goodput, 1 - statuses["succeeded"] / statuses.total(), refused)


async def _bare(tested: Bed) -> Seen:
    until = WARM_SECONDS + SECONDS
    script = [sys.executable, "-m", "bench.loop", f"{tested.simulator.url}/v1", str(RUNS), str(AT_ONCE)]
    with subprocess.Popen([*script, str(until)], stdout=subprocess.PIPE) as loop:
        goodput, refused = await _watched(tested)
        saw = json.loads(loop.communicate()[0])
    failed = saw.get("failed", 0)
    return Seen(goodput, failed / (failed + saw["succeeded"]), refused)


async def _watched(tested: Bed) -> tuple[float, float]:
    """Return the share of the limit that succeeded, and the calls refused for each success, once it is under way."""
    await asyncio.sleep(WARM_SECONDS)
    tested.simulator.forget()
    await asyncio.sleep(SECONDS)
    calls = tested.simulator.calls()
    return calls["served"] / SECONDS / PER_SECOND, calls["statuses"].get("429", 0) / max(1, calls["served"])
