"""How much of its limits a workspace uses."""

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from gateway.quota.limits import Limits, LimitStore, WorkspaceLimits
from gateway.quota.waiting import WaitingRuns


class UseStore(LimitStore, Protocol):
    """Where limits are set, and what is left of them."""

    async def set_limits(self, workspace_id: UUID, limits: Limits) -> None:
        """Set all of a workspace's limits; raise `NotFound` where there is no such workspace."""

    async def left(self, workspace_id: UUID, rate: float, burst: int) -> float:
        """Return how many runs are in the bucket now."""


class Shelf(Protocol):
    """Where files are known."""

    async def stored(self, workspace_id: UUID) -> int:
        """Return how many bytes the workspace keeps."""


@dataclass(frozen=True)
class Use:
    """A workspace's own limits, those that hold, and what is used of each; None: nobody can tell now."""

    own: Limits
    limits: Limits
    used: dict[str, float | None]


class Uses:
    """Shows limits with their use, and sets them."""

    def __init__(self, store: UseStore, files: Shelf, waiting: WaitingRuns, limits: WorkspaceLimits) -> None:
        self._store = store
        self._files = files
        self._waiting = waiting
        self._limits = limits

    async def set(self, workspace_id: UUID, limits: Limits) -> None:
        """Set all of a workspace's limits; raise `NotFound` where there is no such workspace."""
        await self._store.set_limits(workspace_id, limits)
        self._limits.forget(workspace_id)

    async def of(self, workspace_id: UUID) -> Use:
        """Return a workspace's limits and its use of them, as they stand now."""
        own = await self._store.limits(workspace_id)
        limits = own.or_else(self._limits.defaults)
        stored, waiting, missing = await asyncio.gather(
            self._files.stored(workspace_id), self._waiting.count(workspace_id), self._missing(workspace_id, limits)
        )
        used = {"runs_per_second": missing, "waiting_runs": waiting, "stored_bytes": stored}
        if limits.runs_per_second is not None:
            limits = replace(limits, burst_runs=limits.burst)
        return Use(own, limits, used)

    async def _missing(self, workspace_id: UUID, limits: Limits) -> float | None:
        if limits.runs_per_second is None:
            return None
        return round(limits.burst - await self._store.left(workspace_id, limits.runs_per_second, limits.burst), 3)
