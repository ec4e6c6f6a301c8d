"""The one door through which runs come in, single or of a batch: whether their workspace may have them."""

from uuid import UUID

from common.errors import StorageExceeded
from gateway import metrics
from gateway.quota.limits import WorkspaceLimits
from gateway.quota.rate import RunRate
from gateway.quota.waiting import WaitingRuns


class Quota:
    """Asks each limit in turn."""

    def __init__(self, limits: WorkspaceLimits, rate: RunRate, waiting: WaitingRuns) -> None:
        self._limits = limits
        self._rate = rate
        self._waiting = waiting

    async def admit(self, workspace_id: UUID) -> None:
        """Let one run in; raise `QuotaExceeded`."""
        limits = await self._limits.of(workspace_id)
        self._waiting.check(workspace_id, limits.waiting_runs)
        await self._rate.spend(workspace_id, limits)
        self._waiting.note(workspace_id)

    async def share(self, workspace_id: UUID, most: int) -> int:
        """Return how many runs of a batch may go on now: bulk waits in its file, it is never refused."""
        return await self._rate.share(workspace_id, await self._limits.of(workspace_id), most)

    def give_back(self, workspace_id: UUID, runs: int = 1) -> None:
        """Take back what was let in and not needed."""
        self._rate.give_back(workspace_id, runs)

    async def body_bytes(self, workspace_id: UUID) -> int | None:
        """Return how large a run's request may be; None where the workspace has no limit of its own."""
        return (await self._limits.of(workspace_id)).body_bytes

    async def stored_bytes(self, workspace_id: UUID) -> int | None:
        """Return how many bytes of files the workspace may keep."""
        return (await self._limits.of(workspace_id)).stored_bytes


def storage_exceeded(limit: int) -> StorageExceeded:
    """Return the error of a workspace whose files fill what it may keep."""
    metrics.REFUSED.labels("storage").inc()
    return StorageExceeded(
        f"this workspace may keep {limit} bytes of files, and with this one it would keep more: delete some"
        " (DELETE /v1/files/{id}), let them expire (expires_after), or ask the operator for more"
    )
