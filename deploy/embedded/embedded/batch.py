"""The demo's batch: the same jobs in several languages, as the rows of one file, quoted and then run."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from embedded.prompts import prompts
from embedded.report import dollars
from tallyrun import AsyncClient
from tallyrun.batches import Quote
from tallyrun.handles import AsyncBatch

LANGUAGES = ("English", "German", "French", "Spanish", "Italian")
POLL_SECONDS = 0.2

Answer = tuple[str, dict[str, Any]]
"""The model that was asked for, and the data (or the error) of its answer."""


def rows() -> Iterator[dict[str, Any]]:
    """Yield each prompt in each language."""
    for number, prompt in enumerate(prompts()):
        for language in LANGUAGES:
            asked = prompt.body()
            text = f"{asked['input']} Answer in {language}."
            system = [{"role": "system", "content": prompt.system}] if prompt.system else []
            yield {
                "custom_id": f"{prompt.prompt_id}-{number}-{language.lower()}",
                "model": f"{prompt.provider}/{prompt.model}",
                "messages": [*system, {"role": "user", "content": text}],
                "max_tokens": asked["maxTokens"],
            }


async def run_batch(url: str, token: str, console: Console) -> list[Answer]:
    """Quote, submit and watch the batch; return how its rows ended."""
    async with AsyncClient(url, token) as client:
        quote = await client.quote(rows())
        _show(quote, console)
        batch = await client.submit(rows(), name="demo", labels={"source": "demo"})
        await _watched(batch, console)
        answers = [(row.model or "", _answer(row.usage, row.cost)) async for row in batch.results()]
    spent = f"{dollars(batch.cost)} spent, {batch.unpriced} without a price"
    console.print(f"{batch.succeeded:,} of {batch.rows:,} rows answered, {spent}.\n", highlight=False)
    return [] if batch.attached else answers


def _show(quote: Quote, console: Console) -> None:
    console.print(
        f"\nA batch of {quote.rows:,} rows will cost {dollars(quote.low)} to {dollars(quote.high)};"
        f" {quote.unpriced_rows} rows have no price.",
        highlight=False,
    )


async def _watched(batch: AsyncBatch, console: Console) -> None:
    columns = TextColumn("Running a batch"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[spent]}")
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=None, spent="")
        async for status in batch.watch(every=POLL_SECONDS):
            progress.update(task, completed=status.done, total=status.rows or None, spent=dollars(status.cost))


def _answer(usage: Any, cost: Any) -> dict[str, Any]:
    return {"totalTokens": (usage or {}).get("total", 0), "cost": cost}
