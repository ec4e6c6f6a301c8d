"""How a run's end becomes known: first the journal, and once that is acknowledged, the one who waits."""

from typing import Protocol
from uuid import UUID

from aiokafka import TopicPartition

from common.contracts.runs_v1 import ReplyTo, RunCompleted, RunStarted
from common.contracts.topics import MAX_VALUE_BYTES
from common.ids import now_ms
from common.telemetry import TRACING, record_headers
from runner.replies import Sender


class Replies(Protocol):
    """Tells who waits."""

    async def send(self, completed: RunCompleted, value: bytes, reply_to: ReplyTo) -> None:
        """Send the completion, `value` encoded."""


class Completions:
    """Publishes completions. A lost reply would lose no run, but would leave its caller waiting."""

    def __init__(self, sender: Sender, replies: Replies) -> None:
        self._sender = sender
        self._replies = replies

    async def start(self, run_id: UUID, journal: TopicPartition) -> None:
        """Append that the run is about to be called: should its end never be found, it must not be called again."""
        started = RunStarted(run_id=run_id, started_at=now_ms())
        headers = started.headers()
        await self._sender.deliver(
            journal.topic, started.encode(), key=run_id.bytes, headers=headers, partition=journal.partition
        )

    async def publish(self, completed: RunCompleted, journal: TopicPartition, reply_to: ReplyTo | None) -> None:
        """Append to the journal of the request's partition, then reply to who waits."""
        key, value = completed.run_id.bytes, _fitting(completed)
        with TRACING.span(f"publish {journal.topic}", "producer"):
            headers = [*completed.headers(), *record_headers()]
            await self._sender.deliver(journal.topic, value, key=key, headers=headers, partition=journal.partition)
        if reply_to is not None:
            await self._replies.send(completed, value, reply_to)


def _fitting(completed: RunCompleted) -> bytes:
    """Return the value; an output too large for one message is cut, marked, and the run still ends."""
    value = completed.encode()
    if len(value) <= MAX_VALUE_BYTES:
        return value
    output = (completed.output or "").encode()[: MAX_VALUE_BYTES // 8].decode(errors="ignore")
    return completed.model_copy(update={"response": None, "output": output, "truncated": True}).encode()
