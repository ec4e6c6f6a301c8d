"""Who owns a batch: owners die, freeze and leave, and every row is still run once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from services.gateway.tests.batches.conftest import Caller, PlayedLog, answered, heartbeat, row
from services.gateway.tests.conftest import Gateway, SettingsFor, running

from common.contracts.runs_v1 import RunRequested
from common.errors import Unavailable
from common.kafka import OutcomeUnknown
from gateway.batches import course, lease, owner
from gateway.publish import RequestLog

LEASE_MS, FENCE_MS = 3_000, 1_000

Start = Callable[..., Any]


@pytest.fixture(autouse=True)
def _short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_MS", LEASE_MS)
    monkeypatch.setattr(owner, "LEASE_MS", LEASE_MS)
    monkeypatch.setattr(lease, "FENCE_MS", FENCE_MS)
    monkeypatch.setattr(course, "window", lambda *_: 200)  # so that it does not grow past what a test feeds


@pytest.fixture
async def start(kafka: str, settings_for: SettingsFor, connected: None) -> AsyncIterator[Start]:
    """Start a gateway beside those that run already, on the same database, files and broker."""
    async with AsyncExitStack() as stack:

        async def started(**changed: Any) -> Caller:
            settings = settings_for(kafka_bootstrap_servers=kafka, **changed)
            gateway: Gateway = await stack.enter_async_context(running(settings))
            return Caller(gateway)

        yield started


def owning(batch_id: str) -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() in (batch_id, "batch claims")]


async def crash(tasks: list[asyncio.Task[Any]]) -> None:
    """End an owner as a crash does: in mid-way, and with nothing tidied up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("share", [0, 100, 350], ids=lambda share: f"{share} ended before")
async def test_a_crash_in_mid_feed_costs_no_row_and_repeats_none(share: int, start: Start, log: PlayedLog) -> None:
    rows = 600
    log.script = lambda request: answered(request) if len(log.ended) < share else None
    first: Caller = await start()
    batch = await first.submit([row(n) for n in range(rows)])
    await first.until(batch, lambda told: told["succeeded"] >= share and told["inFlight"] >= 100)
    await crash(owning(batch["id"]))
    fed = len(log.requests)
    second: Caller = await start()
    log.script = answered
    await log.end_all()
    told = await second.ended(batch)
    print(f"{fed} of {rows} rows fed before the crash, {len(log.requests)} in all")
    assert (told["state"], told["succeeded"], told["failed"]) == ("completed", rows, 0)
    assert share + 100 <= fed < rows, fed
    assert log.repeated == []
    assert len({request.run_id for request in log.requests}) == len(log.requests) == rows
    assert len(await second.lines(told["outputFileId"])) == rows


async def test_runs_under_way_at_the_crash_are_waited_for(
    start: Start, log: PlayedLog, sql: asyncpg.Connection
) -> None:
    log.script = lambda _: None
    first: Caller = await start()
    batch = await first.submit([row(n) for n in range(50)])
    await first.until(batch, lambda told: told["inFlight"] == 50)
    await crash(owning(batch["id"]))
    old = await sql.fetchval("SELECT owner FROM batches")
    second: Caller = await start()
    while await sql.fetchval("SELECT owner FROM batches") == old:
        await asyncio.sleep(0.05)
    told = await second.until(batch, lambda told: told["inFlight"] == 50 and (told["readUpTo"] is not None))
    assert told["succeeded"] == 0
    await log.end_all()
    assert (await second.ended(batch))["succeeded"] == 50
    assert len(log.requests) == 50


async def test_what_the_dead_owner_sent_is_waited_for(start: Start, log: PlayedLog, sql: asyncpg.Connection) -> None:
    first: Caller = await start()
    log.behind, log.replies = True, False  # nobody knows yet what reached the log
    batch = await first.submit([row(n) for n in range(150)])
    await first.until(batch, lambda told: told["inFlight"] == 150)
    await crash(owning(batch["id"]))
    old = await sql.fetchval("SELECT owner FROM batches")
    second: Caller = await start()
    while await sql.fetchval("SELECT owner FROM batches") == old:
        await asyncio.sleep(0.05)
    for _ in range(3):
        await heartbeat(sql)
    log.behind = False
    assert (await second.ended(batch))["succeeded"] == 150
    assert log.repeated == []
    assert len(log.requests) == 150


async def test_a_zombie_publishes_nothing_that_counts(
    start: Start, log: PlayedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    thaw, held, append = asyncio.Event(), list[Any](), RequestLog.append

    async def frozen(self: RequestLog, *arguments: Any) -> None:
        """Like a machine that stands still between the decision to publish and the record's way to the broker."""
        held.append(arguments)
        await thaw.wait()
        await append(self, *arguments)

    never = asyncio.Event()
    with monkeypatch.context() as patched:
        patched.setattr(RequestLog, "append", frozen)
        patched.setattr(lease.Lease, "keep", lambda _: never.wait())
        first: Caller = await start(publish_seconds=60)
        batch = await first.submit([row(n) for n in range(40)])
        while len(held) < 40:
            await asyncio.sleep(0.01)
        await crash([task for task in asyncio.all_tasks() if task.get_name() == "batch claims"])
    second: Caller = await start()
    told = await second.ended(batch)
    assert (told["succeeded"], len(log.requests), log.void) == (40, 40, [])
    thaw.set()
    while len(log.void) < 40:
        await asyncio.sleep(0.05)
    assert len(log.requests) == 40


async def test_a_replica_that_leaves_lets_another_go_on_at_once(
    start: Start, log: PlayedLog, kafka: str, settings_for: SettingsFor, sql: asyncpg.Connection
) -> None:
    log.script = lambda _: None
    async with running(settings_for(kafka_bootstrap_servers=kafka)) as gateway:
        first = Caller(gateway)
        batch = await first.submit([row(n) for n in range(300)])
        await first.until(batch, lambda told: told["inFlight"] == 200)
    released = await sql.fetchval("SELECT lease_until <= extract(epoch FROM clock_timestamp()) * 1000 FROM batches")
    second: Caller = await start()
    log.script = answered
    await log.end_all()
    told = await second.ended(batch)
    assert (released, told["succeeded"], len(log.requests), log.repeated) == (True, 300, 300, [])


async def test_two_replicas_share_the_batches(start: Start, log: PlayedLog, sql: asyncpg.Connection) -> None:
    callers: list[Caller] = [await start(), await start()]
    batches = [await callers[n % 2].submit([row(m) for m in range(20)]) for n in range(6)]
    told = [await callers[0].ended(batch) for batch in batches]
    assert [batch["succeeded"] for batch in told] == [20] * 6
    assert len(log.requests) == 120
    assert await sql.fetchval("SELECT count(DISTINCT owner) FROM batches") == 6


async def test_a_record_that_nobody_acknowledged_is_looked_for_in_the_log(
    start: Start, log: PlayedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = RequestLog.append

    async def unacknowledged(self: RequestLog, request: RunRequested, *more: Any) -> None:
        """One in two gets there, and one in four says so."""
        number = int((request.custom_id or "").removeprefix("row-"))
        if number in told:
            await append(self, request, *more)
            return
        told.add(number)
        if number % 2:
            await append(self, request, *more)
        if number % 4:
            raise OutcomeUnknown("the message broker does not answer")
        raise Unavailable("the message broker refused")

    told: set[int] = set()
    monkeypatch.setattr(RequestLog, "append", unacknowledged)
    caller: Caller = await start()
    ended = await caller.ended(await caller.submit([row(n) for n in range(40)]))
    assert (ended["state"], ended["succeeded"], len(told)) == ("completed", 40, 40)
    assert log.repeated == []
    assert len(log.requests) == 40
