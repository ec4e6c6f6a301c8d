"""Runs that wait: as analytics last counted them, and what was accepted here since."""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from common.contracts.waiting_v1 import Waiting
from common.errors import QuotaExceeded, TallyrunError
from common.ids import now_ms
from gateway import metrics

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
RETRY_SECONDS = 5.0
"""What a caller is told to wait: nobody knows how long the runs before it take."""

REMEMBERED = 10_000


class Counted(Protocol):
    """Who counts."""

    async def waiting(self, workspace_id: UUID) -> Waiting:
        """Return how many single runs of this workspace have not ended."""


@dataclass
class _Line:
    counted: Waiting = field(default_factory=lambda: Waiting(runs=0, read_up_to=0))
    fresh_until: float = 0.0
    since: deque[int] = field(default_factory=deque)
    """When the runs were accepted that may not be counted yet."""

    asking: asyncio.Task[None] | None = None


class WaitingRuns:
    """Estimates each workspace's line. While analytics is away nobody is refused: what was accepted is safe anyway."""

    def __init__(self, counted: Counted) -> None:
        self._counted = counted
        self._lines: dict[UUID, _Line] = {}

    def check(self, workspace_id: UUID, limit: int | None) -> None:
        """Raise `QuotaExceeded` where as many wait as may."""
        if limit is None:
            self._lines.pop(workspace_id, None)  # else it would grow for as long as nobody asks
            return
        line = self._line(workspace_id)
        if time.monotonic() >= line.fresh_until and line.asking is None:
            line.asking = asyncio.create_task(self._ask(workspace_id, line))
        if line.counted.runs + len(line.since) >= limit:
            metrics.REFUSED.labels("waiting").inc()
            message = (
                f"{limit} runs of this workspace wait, as many as may: wait as Retry-After says, hand many over as a"
                " batch, or ask the operator for more"
            )
            raise QuotaExceeded(message, retry_after=RETRY_SECONDS, limit=limit)

    def note(self, workspace_id: UUID) -> None:
        """Note that one more was let in."""
        if (line := self._lines.get(workspace_id)) is not None:
            line.since.append(now_ms())

    async def count(self, workspace_id: UUID) -> int | None:
        """Return how many wait; None where nobody can tell."""
        try:
            return (await self._counted.waiting(workspace_id)).runs
        except TallyrunError:
            return None

    async def _ask(self, workspace_id: UUID, line: _Line) -> None:
        try:
            line.counted = await self._counted.waiting(workspace_id)
            while line.since and line.since[0] < line.counted.read_up_to:
                line.since.popleft()
        except TallyrunError as error:
            log.warning("nobody counts the waiting runs: %s", error.message)
            line.counted, line.since = Waiting(runs=0, read_up_to=0), deque()
        finally:
            line.fresh_until = time.monotonic() + FRESH_SECONDS
            line.asking = None

    def _line(self, workspace_id: UUID) -> _Line:
        if len(self._lines) >= REMEMBERED:
            self._lines.clear()
        return self._lines.setdefault(workspace_id, _Line())
