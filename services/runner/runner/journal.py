"""The completed topic as journal (R2): which runs of a partition have ended, and which another runner still calls."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from common.contracts.event import TYPE_HEADER
from common.contracts.runs_v1 import Handover, RunCompleted, RunStarted
from common.contracts.topics import completed_for
from common.kafka import Record, partition_reader

log = logging.getLogger(__name__)

MARGIN_MS = 60_000
"""A completion is never older than its request; the margin is for brokers whose clocks differ."""

WAIT_MS = 500


def journal_of(topic: str, partition: int) -> TopicPartition:
    """Return where the ends of a partition's runs stand: under its number, in its own generation."""
    return TopicPartition(completed_for(topic), partition)


@dataclass
class Past:
    """What the journal has told so far.

    `started` are runs that must not be called twice. `held`: run → until when (UTC ms) its former owner may call it.
    """

    ended: set[UUID] = field(default_factory=set)
    started: set[UUID] = field(default_factory=set)
    held: dict[UUID, int] = field(default_factory=dict)

    def learn(self, record: Record) -> None:
        """Take one record in; later ones overrule earlier ones. One that cannot be read must not stop the partition."""
        try:
            self._learn(record)
        except ValueError:  # without the error: it quotes what it read
            place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            log.warning("a record of the journal cannot be read", extra=place)

    def _learn(self, record: Record) -> None:
        match dict(record.headers).get(TYPE_HEADER, b"").decode():
            case RunCompleted.TYPE:
                self._ended(UUID(bytes=record.key or b""))
            case RunStarted.TYPE:
                self.started.add(UUID(bytes=record.key or b""))
            case Handover.TYPE:
                self._handed_over(Handover.model_validate_json(record.value or b""))

    def _ended(self, run_id: UUID) -> None:
        self.ended.add(run_id)
        self.held.pop(run_id, None)

    def _handed_over(self, handover: Handover) -> None:
        for run_id in handover.run_ids:
            if handover.until:
                self.held[run_id] = handover.until
            else:  # given back: no call is under way
                self.held.pop(run_id, None)
                self.started.discard(run_id)


class Reading:
    """One partition of the journal, being read."""

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        self._consumer = consumer
        self._partition = partition
        self.past = Past()

    async def catch_up(self, since: int) -> None:
        """Read from this append time (UTC ms) to the present end."""
        first = (await self._consumer.offsets_for_times({self._partition: max(0, since)}))[self._partition]
        end = (await self._consumer.end_offsets([self._partition]))[self._partition]
        self._consumer.seek(self._partition, end if first is None else first.offset)
        while await self._consumer.position(self._partition) < end:
            await self.go_on()

    async def go_on(self) -> None:
        """Read what comes next, if something comes within half a second."""
        for record in (await self._consumer.getmany(self._partition, timeout_ms=WAIT_MS)).get(self._partition, []):
            self.past.learn(record)


class Journal:
    """Opens the completed topic for reading, in no group and without commits."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @asynccontextmanager
    async def reading(self, journal: TopicPartition, appended_at: int) -> AsyncIterator[Reading]:
        """Yield a partition's journal, read since the append time (UTC ms) of its oldest unfinished record."""
        async with partition_reader(self._bootstrap, [journal]) as consumer:
            reading = Reading(consumer, journal)
            await reading.catch_up(appended_at - MARGIN_MS)
            yield reading
