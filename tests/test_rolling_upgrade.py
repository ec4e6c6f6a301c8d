"""Everything is replaced while callers call: an upgrade with a migration, a step back, a restart of each service."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.runners import Beside, runners_beside
from tests.stack import Client, Simulator, Stack, until
from tests.support.callers import Callers
from tests.test_storm import check_books

CALLERS = 8
BETWEEN = 30
"""Runs that are accepted after each change, before the next."""

SYNC_WAIT_SECONDS = 25
"""A vault that is restarted has no second one here: runs wait for it, and so do their callers."""


@contextmanager
def fleet(stack: Stack) -> Iterator[list[Beside]]:
    """Yield a list of gateways beside the stack's; whatever is in it at the end is stopped."""
    gateways: list[Beside] = []
    try:
        yield gateways
    finally:
        for gateway in gateways:
            gateway.stop()


def started(stack: Stack, gateways: list[Beside], folder: Path | None = None) -> Beside:
    """Start one more, of this version or (with a folder for its migrations) of the next, and return it when ready."""
    command = () if folder is None else ("-m", "tests.support.newer_gateway", str(folder))
    log = stack.home / "logs" / "gateways-beside.log"
    gateway = Beside(stack, log, "gateway", command, sync_wait_seconds=SYNC_WAIT_SECONDS)
    gateways.append(gateway)
    until(gateway.ready, "a gateway beside the stack's is up")
    return gateway


async def replaced(callers: Callers, gateways: list[Beside], old: Beside, new: Beside) -> None:
    """Take the old one off the list once the new one is on it, and stop it."""
    callers.urls.append(new.url)
    callers.urls.remove(old.url)
    assert -await asyncio.to_thread(old.stop) in {0, signal.SIGTERM}
    gateways.remove(old)
    await callers.until_accepted(BETWEEN)


async def restarted(stack: Stack, callers: Callers, service: str) -> None:
    """Stop one of the stack's services as a rolling restart does; its supervisor starts it again."""
    before = stack.output().count(f"{service} is ready again")
    os.kill(stack.pid(service), signal.SIGTERM)
    await asyncio.to_thread(
        until, lambda: stack.output().count(f"{service} is ready again") > before, f"{service} is back", 60
    )
    await callers.until_accepted(BETWEEN)


async def upgraded(stack: Stack, callers: Callers, gateways: list[Beside], folder: Path) -> None:
    """Replace both gateways by newer ones, one after the other, then one of them by one of the version before."""
    for old in tuple(gateways):
        new = await asyncio.to_thread(started, stack, gateways, folder)
        await replaced(callers, gateways, old, new)
    back = await asyncio.to_thread(started, stack, gateways)
    await replaced(callers, gateways, gateways[0], back)


@pytest.mark.timeout(300)
def test_a_rolling_upgrade_and_restarts_lose_nothing_and_repeat_no_call(
    stack: Stack, client: Client, simulator: Simulator, unique: str, tmp_path: Path
) -> None:
    simulator.when(unique, latency_ms=200)
    simulator.forget()

    async def everything(gateways: list[Beside]) -> Callers:
        callers = Callers(client.token, unique, [gateway.url for gateway in gateways], pause=0.05)
        async with callers.calling(CALLERS):
            await callers.until_accepted(BETWEEN)
            await upgraded(stack, callers, gateways, tmp_path / "migrations")
            for service in ("runner", "vault", "analytics"):
                await restarted(stack, callers, service)
        return callers

    with fleet(stack) as gateways, runners_beside(stack, 1):
        for _ in range(2):
            started(stack, gateways)
        callers = asyncio.run(everything(gateways))
        print(f"{dict(callers.statuses)}; {len(callers.failures)} failures")
        assert callers.failures == []
        check_books(stack, client, len(callers.accepted))
    calls = simulator.calls()
    assert (calls["total"], calls["repeated"]) == (len(callers.accepted), {})
