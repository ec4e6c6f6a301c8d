"""A synchronous run, against a bare call to the same provider with the official client in the same minute."""

import asyncio
import statistics

import aiohttp
from bench.bed import Bed, bed
from bench.load import load
from bench.report import Row
from openai import AsyncOpenAI, DefaultAioHttpClient

SECONDS = 4
ROUNDS = 3
WORDS = "Name three rivers, and say where each of them ends."


def measure() -> list[Row]:
    """Return rows: the latency that the product adds to one caller, and what 64 callers get through."""
    with bed() as tested:
        return asyncio.run(_measure(tested))


async def _measure(tested: Bed) -> list[Row]:
    headers = {"authorization": f"Bearer {tested.workspace().client.token}"}
    body = {"provider": "openai", "model": "gpt-4o-mini", "input": WORDS}
    client = AsyncOpenAI(api_key="works", base_url=f"{tested.simulator.url}/v1", http_client=DefaultAioHttpClient())
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, client:

        async def ours() -> None:
            async with session.post(f"{tested.stack.url}/api/integrations/run", json=body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

        async def bare() -> None:
            await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": WORDS}])

        await load(ours, callers=1, seconds=1)
        pairs = [
            (await load(ours, callers=1, seconds=SECONDS), await load(bare, callers=1, seconds=SECONDS))
            for _ in range(ROUNDS)
        ]
        many = await load(ours, callers=64, seconds=SECONDS)
    p50, bare_p50 = (statistics.median(pair[side].p50 for pair in pairs) for side in (0, 1))
    return [
        Row("synchronous run, 1 caller: p50 ms", p50, bare_p50, "the bare call", ""),
        Row("synchronous run, 1 caller: added p50 ms", p50 - bare_p50, None, "", "≤ 7"),
        Row("synchronous runs/s, 64 callers", many.per_second, None, "", ""),
        Row("synchronous run, 64 callers: p50 ms", many.p50, None, "", ""),
    ]
