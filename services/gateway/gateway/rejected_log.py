"""`runs.rejected.v1`, read in no group: operators look at it, nobody consumes it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from common.admission import Headers
from common.contracts.runs_v1 import RunRejected
from common.contracts.topics import REJECTED
from common.errors import Unavailable
from common.kafka import Record, partition_reader
from gateway.rejected import SetAside, Span

POLL_MS = 1000
SILENT_POLLS = 10

MOST_RECORDS, MOST_BYTES = 10_000, 64 * 1024 * 1024
"""What one request reads at most, however few records fit its filters."""

_PARTITION = TopicPartition(REJECTED.name, 0)

UNLABELLED = RunRejected(reason="its headers do not say from where", topic="", partition=-1, offset=-1, service="")
"""The origin of a record that none of our services set aside."""


class Pass:
    """One pass over a span of the topic; `span` is what is left of it, `begin` where the topic begins."""

    def __init__(self, consumer: AIOKafkaConsumer, span: Span, begin: int) -> None:
        self._consumer = consumer
        self.span = span
        self.begin = begin

    async def records(self) -> AsyncIterator[SetAside]:
        """Yield what is left, or as much of it as one request may read; raise `Unavailable` if nothing comes."""
        count = size = 0
        async for record in self._records():
            self.span = Span(record.offset + 1, self.span.end)
            yield SetAside(record.offset, record.timestamp, _origin(record.headers), record.key, record.value or b"")
            count, size = count + 1, size + len(record.value or b"")
            if count >= MOST_RECORDS or size >= MOST_BYTES:
                return

    async def _records(self) -> AsyncIterator[Record]:
        end = self.span.end
        self._consumer.seek(_PARTITION, self.span.next)
        self._consumer.resume(_PARTITION)
        while self.span.next < end:
            for record in await self._poll():
                if record.offset < end:
                    yield record
            self.span = Span(await self._consumer.position(_PARTITION), end)

    async def _poll(self) -> list[Record]:
        for _ in range(SILENT_POLLS):
            if found := await self._consumer.getmany(_PARTITION, timeout_ms=POLL_MS):
                return list(found[_PARTITION])
        raise Unavailable("the message broker does not deliver the rejected records", retry_after=5)


class KafkaRejectedLog:
    """The topic on this cluster."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @asynccontextmanager
    async def reading(self, span: Span | None, since: datetime | None) -> AsyncIterator[Pass]:
        """Begin a pass over this span; without one over everything there is now, set aside at `since` or later."""
        try:
            async with partition_reader(self._bootstrap, [_PARTITION]) as consumer:
                consumer.pause(_PARTITION)  # else it waits half a second for news before it knows where to begin
                begin = (await consumer.beginning_offsets([_PARTITION]))[_PARTITION]
                yield Pass(consumer, await _span(consumer, begin, span, since), begin)
        except KafkaError as error:
            raise Unavailable("the message broker does not answer", retry_after=5) from error


async def _span(consumer: AIOKafkaConsumer, begin: int, asked: Span | None, since: datetime | None) -> Span:
    """Return what of it is there: retention has taken the oldest records, and nobody may ask past the end."""
    end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
    if asked is not None:
        end = min(end, asked.end)
        return Span(min(max(begin, asked.next), end), end)
    if since is None:
        return Span(begin, end)
    found = (await consumer.offsets_for_times({_PARTITION: max(0, round(since.timestamp() * 1000))}))[_PARTITION]
    return Span(end if found is None else found.offset, end)


def _origin(headers: Headers) -> RunRejected:
    try:
        return RunRejected.model_validate({name: value.decode(errors="replace") for name, value in headers})
    except ValidationError:
        return UNLABELLED
