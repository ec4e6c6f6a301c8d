"""A batch goes on within its workspace's rate, and leaves callers their part of it."""

import asyncio
import time
from uuid import UUID

from services.gateway.tests.batches.conftest import Caller, PlayedLog, row

ROWS, RATE, BURST = 120, 30, 20


async def test_a_batch_is_fed_within_the_rate_and_callers_are_not_refused(
    caller: Caller, log: PlayedLog, workspace_id: UUID
) -> None:
    http = caller.gateway.http
    limits = {"runsPerSecond": RATE, "burstRuns": BURST}
    assert (await http.put(f"/api/workspaces/{workspace_id}/limits", json=limits)).status_code == 200
    begun = time.monotonic()
    batch = await caller.submit([row(number) for number in range(ROWS)])
    callers = 0
    while len(log.requests) < ROWS:
        assert (await caller.gateway.run({"prefer": "respond-async"})).status_code == 202
        callers += 1
        await asyncio.sleep(0.1)
    took = time.monotonic() - begun
    print(f"{ROWS} rows and {callers} calls in {took:.2f} s")
    assert ROWS + callers <= BURST + RATE * took + 1
    ended = await caller.ended(batch)
    assert (ended["state"], ended["succeeded"]) == ("completed", ROWS)
    assert log.repeated == []
