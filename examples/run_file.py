"""Run a file of prompts through the HTTP API.

`python examples/run_file.py FILE FIELD PROVIDER/MODEL [PROVIDER/MODEL …]`

FILE has a JSON object a line, FIELD names the prompt in it; lines take the models in turn. `TALLYRUN_URL` and
`TALLYRUN_TOKEN` say where and as whom. Each line's place in the file is its idempotency key: run the same command again
after a failure, and only what is missing is called.
"""

import asyncio
import json
import os
import sys
from decimal import Decimal
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp

CALLERS = 32
URL = os.environ.get("TALLYRUN_URL", "http://127.0.0.1:8080")


async def main(name: str, prompts: list[str], models: list[str]) -> None:
    """Run every prompt and print what it cost by model."""
    costs = dict.fromkeys(models, Decimal(0))
    turn = asyncio.Semaphore(CALLERS)
    headers = {"authorization": f"Bearer {os.environ['TALLYRUN_TOKEN']}"}
    async with aiohttp.ClientSession(URL, headers=headers) as session:

        async def one(number: int, prompt: str, model: str) -> None:
            async with turn:
                data = await run(session, f"{name}:{number}", prompt, model)
            costs[model] += data["cost"] or 0

        await asyncio.gather(*(one(*row) for row in zip(range(len(prompts)), prompts, cycle(models), strict=False)))
    for model, cost in costs.items():
        print(f"{model}: ${cost}")


async def run(session: aiohttp.ClientSession, name: str, prompt: str, model: str) -> Any:
    """Return a run's data, money as decimals."""
    provider, _, model_name = model.partition("/")
    body = {"provider": provider, "model": model_name, "input": prompt, "promptId": name.rpartition(":")[0]}
    async with session.post("/api/integrations/run", json=body, headers={"idempotency-key": name}) as answer:
        content = json.loads(await answer.text(), parse_float=Decimal)
    if not content["success"]:
        raise SystemExit(f"{name}: {content['error']} ({content['code']})")
    return content["data"]


if __name__ == "__main__":
    file, field, *chosen = sys.argv[1:]
    rows = [json.loads(line)[field] for line in Path(file).read_text().splitlines()]
    asyncio.run(main(Path(file).name, rows, chosen))
