"""A batch, as far as runners must know of it: whether it still goes on."""

from typing import ClassVar
from uuid import UUID

from common.contracts.event import Event
from common.contracts.runs_v1 import Millis, Name


class BatchCancelled(Event):
    """Gateway → every runner: call nothing of this batch any more. Keyed by the batch id.

    It is about the runs of this workspace that carry this batch id; of another workspace's it says nothing.
    """

    TYPE: ClassVar[str] = "batches.v1.cancelled"

    batch_id: Name
    workspace_id: UUID
    cancelled_at: Millis

    @property
    def subject(self) -> bytes:
        """The record's key."""
        return self.batch_id.encode()
