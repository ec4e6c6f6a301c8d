"""Who waits for whom: interactive runs beside waiting bulk, and a small workspace beside a huge one."""

import asyncio
import time

import aiohttp
import orjson
from bench.backlog import MODEL, WORDS, publish
from bench.bed import Bed, Workspace, bed
from bench.journal import journal
from bench.load import Seen, load
from bench.report import Row

SMALL = 100
IN_HAND, HUGE = 1_000, 50_000
"""Bulk runs of another workspace that were there first: as many as a runner has in hand at once, and far more."""

SLOTS = 32
LATENCY_MS = 20
SECONDS = 15


def measure() -> list[Row]:
    """Return rows: latency and time to the end, each beside 50,000 bulk runs and alone."""
    with bed(RUNNER_SLOTS=str(SLOTS)) as tested:
        tested.steer(latency_ms=LATENCY_MS)
        return asyncio.run(_measure(tested))


async def _measure(tested: Bed) -> list[Row]:
    interactive, small, huge = [await asyncio.to_thread(tested.workspace) for _ in range(3)]
    await _interactive(tested, interactive, 2)
    alone, small_alone = await _interactive(tested, interactive, SECONDS), await _until_done(tested, small)
    await publish(tested.stack.kafka, huge, IN_HAND)
    beside_some = await _until_done(tested, small)
    await publish(tested.stack.kafka, huge, HUGE)
    small_beside = asyncio.create_task(_until_done(tested, small))
    beside = await _interactive(tested, interactive, SECONDS)
    what, bulk = f"interactive run while {HUGE:,} bulk runs wait:", f"{SMALL} bulk runs of one workspace behind"
    return [
        Row(f"{what} p50 ms", beside.p50, alone.p50, "alone", ""),
        Row(f"{what} p95 ms", beside.p95, alone.p95, "alone", ""),
        Row(f"{bulk} {IN_HAND:,} of another: s", beside_some, small_alone, "alone", ""),
        Row(f"{bulk} {HUGE:,} of another: s", await small_beside, small_alone, "alone", ""),
    ]


async def _interactive(tested: Bed, workspace: Workspace, seconds: float) -> Seen:
    """One caller, one run after the other."""
    url, headers = f"{tested.stack.url}/api/integrations/run", {"authorization": f"Bearer {workspace.client.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def call() -> None:
            async with session.post(url, json={"provider": "openai", "model": MODEL, "input": WORDS}) as answer:
                assert answer.status == 200, await answer.text()

        return await load(call, callers=1, seconds=seconds)


async def _until_done(tested: Bed, workspace: Workspace) -> float:
    """Return the seconds from publishing a few bulk runs of the workspace to the end of the last one."""
    async with journal(tested.stack.kafka) as ended:
        began, left = time.perf_counter(), SMALL
        await publish(tested.stack.kafka, workspace, SMALL)
        async for record in ended.records():
            left -= orjson.loads(record.value or b"{}").get("workspace_id") == str(workspace.id)
            if not left:
                break
    return time.perf_counter() - began
