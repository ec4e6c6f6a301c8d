"""Pending versions that nobody came back for are erased: their check was lost, or its gateway died."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from common.errors import TallyrunError
from common.ids import now_ms

log = logging.getLogger(__name__)

STALE_MS = 600_000
EVERY_SECONDS = 60


class Sweepable(Protocol):
    """What is swept."""

    async def sweep(self, created_before: int) -> None:
        """Erase what waits since before this time (UTC ms)."""


@asynccontextmanager
async def sweeping(keys: Sweepable) -> AsyncIterator[None]:
    """Sweep at once and every minute, until the block ends."""
    task = asyncio.create_task(_forever(keys))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _forever(keys: Sweepable) -> None:
    while True:
        try:
            await keys.sweep(now_ms() - STALE_MS)
        except TallyrunError as error:  # the database is away, or a version was activated in this very moment
            log.warning("the sweep was cut short", extra={"reason": error.message})
        await asyncio.sleep(EVERY_SECONDS)
