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
    numbers = iter(range(calls))
    began, cpu = time.perf_counter(), time.process_time()

    async def caller() -> None:
        for number in numbers:
            if time.perf_counter() - began > seconds:
                return
            ended[await _call(client, f"{WORDS} {number}")] += 1

    async with AsyncOpenAI(api_key="works", base_url=base_url) as client:
        await asyncio.gather(*(caller() for _ in range(at_once)))
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    return {"per_second": ended.total() / took, "cpu_ms": 1000 * spent / ended.total(), **ended}


async def _call(client: AsyncOpenAI, prompt: str) -> str:
    try:
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}])
    except OpenAIError:
        return "failed"
    return "succeeded"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(loop(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:])))))
