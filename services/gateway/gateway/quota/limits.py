"""The limits of a workspace: its own where the operator set some, the settings' otherwise."""

import math
import time
from dataclasses import asdict, dataclass
from typing import Protocol
from uuid import UUID

CACHE_SECONDS = 3.0
REMEMBERED = 10_000

SLOWEST = 0.001
"""Runs a second: a slower rate would make callers wait for hours."""

BURST_SECONDS = 10
"""So many seconds' runs may come at once, where nothing is said of it."""


@dataclass(frozen=True)
class Limits:
    """What a workspace may use. None: as the settings say, and where they say nothing there is no limit."""

    runs_per_second: float | None = None
    burst_runs: int | None = None
    waiting_runs: int | None = None
    stored_bytes: int | None = None
    body_bytes: int | None = None

    def or_else(self, defaults: "Limits") -> "Limits":
        """Return these, completed by the defaults. A rate of its own comes with a burst of its own."""
        own = {name: value for name, value in asdict(self).items() if value is not None}
        if self.runs_per_second is not None:
            own["burst_runs"] = self.burst_runs
        return Limits(**{**asdict(defaults), **own})

    @property
    def burst(self) -> int:
        """How many runs may come at once."""
        return self.burst_runs or max(1, math.ceil((self.runs_per_second or 0) * BURST_SECONDS))


class LimitStore(Protocol):
    """Where the operator's limits are kept."""

    async def limits(self, workspace_id: UUID) -> Limits:
        """Return what the operator set for this workspace; raise `NotFound` where there is no such workspace."""


class WorkspaceLimits:
    """Knows each workspace's limits, and remembers them for `CACHE_SECONDS`: so soon a change is heard everywhere."""

    def __init__(self, store: LimitStore, defaults: Limits) -> None:
        self.defaults = defaults
        self._store = store
        self._known: dict[UUID, tuple[Limits, float]] = {}

    async def of(self, workspace_id: UUID) -> Limits:
        """Return the limits that hold for this workspace; raise `Unavailable` where they cannot be looked up."""
        limits, until = self._known.get(workspace_id, (None, 0.0))
        if limits is not None and time.monotonic() < until:
            return limits
        limits = (await self._store.limits(workspace_id)).or_else(self.defaults)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[workspace_id] = limits, time.monotonic() + CACHE_SECONDS
        return limits

    def forget(self, workspace_id: UUID) -> None:
        """Look this workspace's up anew."""
        self._known.pop(workspace_id, None)
