"""Watching a batch to its end: how it stands, its results into a file, and what the command exits with."""

import asyncio
import math
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import typer

from tallyrun.async_client import AsyncClient
from tallyrun.batches import BatchStatus
from tallyrun.command import exits, wording
from tallyrun.command.outfile import outfile
from tallyrun.command.output import Format
from tallyrun.command.progress import Bar
from tallyrun.command.session import Session
from tallyrun.handles import AsyncBatch

EVERY_SECONDS = 0.7


class Watching:
    """One batch from here to its end. `batch` is known once there is one; until then stopping leaves nothing behind."""

    def __init__(self, session: Session, output: str | None) -> None:
        self.session = session
        self.batch: AsyncBatch | None = None
        self._output = output

    def run(self, begin: Coroutine[Any, Any, None]) -> None:
        """Run to the end, and exit with how it ended; Ctrl-C leaves the batch to itself."""
        try:
            asyncio.run(begin)
        except KeyboardInterrupt:
            self._detached()
            raise typer.Exit(exits.DETACHED) from None

    def _detached(self) -> None:
        if self.batch is None:
            self.session.note("stopped; nothing was submitted")
            return
        into = "" if self._output is None else f" -o {self._output}"
        self.session.note(f"detached. Resume: tallyrun watch {self.batch.id}{into}")

    async def to_the_end(self, client: AsyncClient, batch: AsyncBatch, bar: Bar) -> None:
        """Watch until the batch has ended, however often the gateway is away meanwhile."""
        self.batch = batch
        client.transport.patience = math.inf
        into = outfile(self._output, batch.id)
        filled = into.fill(batch.results(follow=True)) if into else asyncio.sleep(0)
        await asyncio.gather(filled, self._shown(batch, bar))

    async def _shown(self, batch: AsyncBatch, bar: Bar) -> None:
        async for status in batch.watch(every=EVERY_SECONDS):
            bar.show(status)

    async def conclude(self, batch: AsyncBatch) -> None:
        """Say how it ended, and exit so."""
        failures = Counter([row.error_code or "failed" async for row in batch.results(only="failed")])
        self.session.note(wording.ended(batch, failures))
        for fault in batch.errors[:20]:
            self.session.note(f"  {wording.fault(fault)}")
        if self.session.how in (Format.JSON, Format.JSONL):
            self.session.write_one(BatchStatus(**dict(batch)), ())
        raise typer.Exit(exits.of_batch(batch, failures))
