"""Runs at a rate: one bucket in the database for all replicas, from which each takes a handful at a time."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from common.errors import QuotaExceeded
from gateway import metrics
from gateway.quota.limits import Limits

HANDFUL_SECONDS = 0.25
"""A replica takes so much of the rate at a time: four statements a second for a busy workspace, however busy. So within
t seconds at most burst + rate × t + a quarter of a second's runs for each replica are accepted."""

KEPT_FOR_CALLERS = 0.5
"""Batches leave so much of the burst to callers."""

REMEMBERED = 10_000


class Taken(NamedTuple):
    """What came of asking the bucket: how many runs it gave, and what is left in it."""

    granted: int
    left: float


class Buckets(Protocol):
    """Where the buckets are: each is filled at its rate, up to its burst."""

    async def take(self, workspace_id: UUID, rate: float, burst: int, asked: int, kept: float) -> Taken:
        """Take at most `asked`, and never of the last `kept`."""


@dataclass
class _Held:
    """What this replica has taken for a workspace and not used, and until when asking for more is no use."""

    runs: int = 0
    empty_until: dict[float, float] = field(default_factory=dict)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class RunRate:
    """Spends what a workspace may have accepted."""

    def __init__(self, buckets: Buckets, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets = buckets
        self._clock = clock
        self._of: dict[UUID, _Held] = {}

    async def spend(self, workspace_id: UUID, limits: Limits) -> None:
        """Take one run; raise `QuotaExceeded` where there is none."""
        rate = limits.runs_per_second
        if rate is None:
            return
        held = self._held(workspace_id)
        if held.runs < 1:
            async with held.asking:
                if held.runs < 1:
                    held.runs += await self._take(
                        workspace_id, held, limits, max(1, round(rate * HANDFUL_SECONDS)), 0.0
                    )
        if held.runs < 1:
            raise self._exceeded(held, limits, rate)
        held.runs -= 1

    async def share(self, workspace_id: UUID, limits: Limits, most: int) -> int:
        """Take up to `most` runs of a batch, and leave callers their part."""
        if limits.runs_per_second is None or most < 1:
            return most
        held, kept = self._held(workspace_id), limits.burst * KEPT_FOR_CALLERS
        async with held.asking:
            return await self._take(workspace_id, held, limits, most, kept)

    def give_back(self, workspace_id: UUID, runs: int) -> None:
        """Take back what was not used: this replica's callers have it."""
        if runs and workspace_id in self._of:
            self._of[workspace_id].runs += runs

    async def _take(self, workspace_id: UUID, held: _Held, limits: Limits, asked: int, kept: float) -> int:
        rate, now = limits.runs_per_second or 0.0, self._clock()
        if now < held.empty_until.get(kept, 0.0):
            return 0
        taken = await self._buckets.take(workspace_id, rate, limits.burst, asked, kept)
        if not taken.granted:
            held.empty_until[kept] = self._clock() + (1 + kept - taken.left) / rate
        return taken.granted

    def _held(self, workspace_id: UUID) -> _Held:
        if len(self._of) >= REMEMBERED:
            self._of.clear()
        return self._of.setdefault(workspace_id, _Held())

    def _exceeded(self, held: _Held, limits: Limits, rate: float) -> QuotaExceeded:
        metrics.REFUSED.labels("rate").inc()
        wait = max(0.0, held.empty_until.get(0.0, 0.0) - self._clock())
        message = (
            f"this workspace may have {rate:g} runs a second accepted, {limits.burst} at once, and has used them: wait"
            " as Retry-After says, hand many over as a batch, or ask the operator for more"
        )
        return QuotaExceeded(message, retry_after=math.ceil(wait), limit=limits.burst, reset=limits.burst / rate)
