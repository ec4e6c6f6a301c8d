"""The main job, visibly: connect keys, run prompts, see what they cost, and check the books."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import track

from embedded.api import Api, RefusedError
from embedded.batch import Answer, run_batch
from embedded.books import counted, since, written
from embedded.prompts import PROVIDERS, Prompt, prompts
from embedded.report import show_agreement, show_overview
from embedded.run import Stack

PERIOD = "30d"
CALLERS = 16
COUNTED_WITHIN_SECONDS = 20
NEVER = "1970-01-01T00:00:00Z"
POLL_SECONDS = 0.1

SIMULATED = (
    "Simulated provider: the prices are computed from real price lists, "
    "the answers are not from a model, and nobody is charged."
)


async def demo(stack: Stack, console: Console, show_addresses: Callable[[], Awaitable[int]]) -> int:
    """Do the main job against a running stack; return 0 if the overview equals the sum of the runs' answers."""
    console.print(f"\n{SIMULATED}", style="yellow")
    token = stack.home.admin_token.read_text().strip()
    async with Api(stack.url, token) as api:
        await _connect(api, console)
        before = counted(await api.overview(PERIOD))
        answers = written([*await _run_all(api, console), *await run_batch(stack.url, token, console)])
        overview = await _once_counted(api, console)
    show_overview(console, overview, f"What it cost, last {PERIOD} (simulated provider)")
    agreed = show_agreement(console, answers, since(before, counted(overview)))
    await show_addresses()
    return 0 if agreed else 1


async def _connect(api: Api, console: Console) -> None:
    for provider in PROVIDERS:
        await api.connect(provider, f"simulated-{secrets.token_hex(12)}")
        console.print(f"Connected a key for {provider}.")


async def _run_all(api: Api, console: Console) -> list[Answer]:
    """Run every prompt, some at once, and say how fast that went."""
    began, slots = time.monotonic(), asyncio.Semaphore(CALLERS)
    runs = [asyncio.create_task(_run(api, slots, prompt)) for prompt in prompts()]
    for run in track(asyncio.as_completed(runs), f"Running {len(runs)} prompts", len(runs), console=console):
        await run
    answers, seconds = [run.result() for run in runs], time.monotonic() - began
    failed = sum("error" in data for _, data in answers)
    console.print(f"{len(answers)} runs in {seconds:.1f} s, {failed} of them failed.", highlight=False)
    return answers


async def _run(api: Api, slots: asyncio.Semaphore, prompt: Prompt) -> Answer:
    async with slots:
        try:
            return prompt.model, await api.run(prompt.body())
        except RefusedError as refused:
            return prompt.model, refused.body


async def _once_counted(api: Api, console: Console) -> dict[str, Any]:
    """Return the overview once it has read up to now, or as it is when that takes too long."""
    began, now = time.monotonic(), datetime.now(UTC)
    while True:
        overview, seconds = await api.overview(PERIOD), time.monotonic() - began
        read_up_to = datetime.fromisoformat(overview["readUpTo"] or NEVER)
        if read_up_to >= now or seconds > COUNTED_WITHIN_SECONDS:
            console.print(f"All counted {seconds:.1f} s after the last answer.\n", highlight=False)
            return overview
        await asyncio.sleep(POLL_SECONDS)
