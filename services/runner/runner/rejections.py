"""Records that are no runs, set aside where operators find them: never dropped silently."""

import logging

from common.contracts.runs_v1 import RunRejected
from common.contracts.topics import REJECTED
from common.kafka import Record
from runner.metrics import REJECTED as REJECTED_RECORDS
from runner.replies import Sender

log = logging.getLogger(__name__)


class Rejections:
    """Publishes the original bytes with the reason and the place. The grant stays behind."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def publish(self, record: Record, reason: str) -> None:
        """Append to the rejected topic, and raise the alarm."""
        place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        log.error("a record was rejected: %s", reason, extra=place)
        REJECTED_RECORDS.labels(record.topic).inc()
        rejected = RunRejected(reason=reason, service="runner", **place)
        await self._sender.deliver(REJECTED.name, record.value, key=record.key, headers=rejected.headers())
