"""Leases, straight from the vault: each opens a key and writes a row of its workspace's chain."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle

import aiohttp
from bench.bed import Bed, bed
from bench.load import load
from bench.report import Row

from common.identity import Signer

SECONDS = 4
WORKSPACES = 20
CALLERS = 16


def measure() -> list[Row]:
    """Return rows: the time of a lease for one caller, and how many a second one workspace gets, and many."""
    with bed() as tested:
        grants = [tested.workspace().grant.decode() for _ in range(WORKSPACES)]
        return asyncio.run(_measure(tested, grants))


async def _measure(tested: Bed, grants: Sequence[str]) -> list[Row]:
    url = f"http://127.0.0.1:{tested.process('vault').environ()['VAULT_PORT']}/leases"
    token = Signer.load("runner", tested.stack.home / "identity" / "runner").service_token("vault")
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {token}"}) as session:
        one, many = _lease(session, url, grants[:1]), _lease(session, url, grants)
        await load(one, callers=1, seconds=1)
        alone = await load(one, callers=1, seconds=SECONDS)
        single = await load(one, callers=CALLERS, seconds=SECONDS)
        spread = await load(many, callers=CALLERS, seconds=SECONDS)
    return [
        Row("lease, 1 caller: p50 ms", alone.p50, None, "", "≤ 3"),
        Row(f"leases/s of one workspace, {CALLERS} callers", single.per_second, spread.per_second, "of 20", ""),
    ]


def _lease(session: aiohttp.ClientSession, url: str, grants: Sequence[str]) -> Callable[[], Awaitable[None]]:
    turns = cycle(grants)

    async def lease() -> None:
        body = {"grant": next(turns), "provider": "openai", "operation": "chat"}
        async with session.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()

    return lease
