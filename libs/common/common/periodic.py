"""Work that is done at once and again and again, for as long as a service lives."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from common.errors import TallyrunError

log = logging.getLogger(__name__)


@asynccontextmanager
async def repeating(work: Callable[[], Awaitable[None]], seconds: float) -> AsyncIterator[None]:
    """Do the work now, and so long after each time, until the block ends; a failure waits for the next time."""
    task = asyncio.create_task(_repeat(work, seconds))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _repeat(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        try:
            await work()
        except TallyrunError as error:  # a part that is needed is away, or something changed in this very moment
            log.warning("%s is tried again in %g s: %s", work.__qualname__, seconds, error.message)
        except Exception:  # whatever it was, the next time is not to be lost as well
            log.exception("%s failed; it is tried again in %g s", work.__qualname__, seconds)
        await asyncio.sleep(seconds)
