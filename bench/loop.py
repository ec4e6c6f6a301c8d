"""What anybody would write in an afternoon: the official client in a loop, so many calls at once. Nothing is kept.

`python -m bench.loop BASE_URL CALLS AT_ONCE [SECONDS]` prints what it saw as JSON. No call starts after SECONDS.
"""

import asyncio
import json
import sys
import time
from collections import Counter

from bench.backlog import MODEL, WORDS
from openai import AsyncOpenAI, OpenAIError


async def loop(base_url: str, calls: int, at_once: int, seconds: float = float("inf")) -> dict[str, float]:
    """Return calls a second, the CPU ms of this process for each, and how many succeeded and failed."""
    ended: Counter[str] = Counter()
    free = asyncio.Semaphore(at_once)
    began, cpu = time.perf_counter(), time.process_time()

    async def call(number: int) -> None:
        async with free:
            if time.perf_counter() - began > seconds:
                return
            try:
                await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": f"{WORDS} {number}"}]
                )
                ended["succeeded"] += 1
            except OpenAIError:
                ended["failed"] += 1

    async with AsyncOpenAI(api_key="works", base_url=base_url) as client:
        await asyncio.gather(*(call(number) for number in range(calls)))
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    return {"per_second": ended.total() / took, "cpu_ms": 1000 * spent / ended.total(), **ended}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(loop(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:])))))
