"""Kafka in: batches that were cancelled, so that nothing more of them is called."""

import logging
from collections.abc import Callable
from uuid import UUID

from aiokafka import TopicPartition
from pydantic import ValidationError

from common.contracts.batches_v1 import BatchCancelled
from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import BATCHES_CANCELLED
from common.kafka import Record
from common.news import News

log = logging.getLogger(__name__)


class CancelledBatches:
    """Reads the topic in no group and from its beginning: every runner must know them all, whenever it started."""

    def __init__(self, bootstrap: str, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._known: set[tuple[UUID, str]] = set()
        self._news = News(bootstrap, TopicPartition(BATCHES_CANCELLED.name, 0), self._heard, whole=True)

    async def start(self) -> None:
        """Return once every batch that was cancelled before is known: call nothing earlier."""
        await self._news.start()

    async def close(self) -> None:
        """Stop reading."""
        await self._news.close()

    def include(self, run: RunRequested) -> bool:
        """Whether the run's batch was cancelled, by its own workspace: another's word on that id says nothing."""
        return run.batch_id is not None and (run.workspace_id, run.batch_id) in self._known

    def _heard(self, record: Record) -> None:
        try:
            cancelled = BatchCancelled.model_validate_json(record.value or b"")
        except ValidationError:
            log.warning("a cancellation cannot be read", extra={"offset": record.offset})
            return
        self._known.add((cancelled.workspace_id, cancelled.batch_id))
        self._changed()
