"""How a run's end becomes known: first the journal, and once that is acknowledged, the one who waits."""

from typing import Protocol, Unpack
from uuid import UUID

from aiokafka import TopicPartition

from common.contracts.event import INSTANCE_HEADER
from common.contracts.runs_v1 import ReplyTo, RunCompleted, RunStarted
from common.contracts.topics import MAX_VALUE_BYTES, REPLIES
from common.ids import now_ms
from common.kafka import Extras


class Sender(Protocol):
    """Appends records."""

    async def deliver(self, topic: str, value: bytes | None, **extras: Unpack[Extras]) -> None:
        """Return once the broker has acknowledged, however long that takes."""


class Completions:
    """Publishes completions. A lost reply would lose no run, but would leave its caller waiting."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def start(self, run_id: UUID, journal: TopicPartition) -> None:
        """Append that the run is about to be called: should its end never be found, it must not be called again."""
        started = RunStarted(run_id=run_id, started_at=now_ms())
        headers = started.headers()
        await self._sender.deliver(
            journal.topic, started.encode(), key=run_id.bytes, headers=headers, partition=journal.partition
        )

    async def publish(self, completed: RunCompleted, journal: TopicPartition, reply_to: ReplyTo | None) -> None:
        """Append to the journal of the request's partition, then reply to who waits."""
        key, headers, value = completed.run_id.bytes, completed.headers(), _fitting(completed)
        await self._sender.deliver(journal.topic, value, key=key, headers=headers, partition=journal.partition)
        if reply_to is not None:
            addressed = [*headers, (INSTANCE_HEADER, reply_to.instance.encode())]
            await self._sender.deliver(REPLIES.name, value, key=key, headers=addressed, partition=reply_to.partition)


def _fitting(completed: RunCompleted) -> bytes:
    """Return the value; an output too large for one message is cut, marked, and the run still ends."""
    value = completed.encode()
    if len(value) <= MAX_VALUE_BYTES:
        return value
    output = (completed.output or "").encode()[: MAX_VALUE_BYTES // 8].decode(errors="ignore")
    return completed.model_copy(update={"response": None, "output": output, "truncated": True}).encode()
