"""Published heads, read back: from the topic, or from a file that somebody kept (its records, or the vault's log)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from common.contracts.audit_v1 import AuditHeads, StatedHeads
from common.contracts.topics import AUDIT_HEADS
from common.errors import Unauthenticated, Unavailable
from common.identity import Verifier
from common.kafka import partition_reader
from vault.heads import STATEMENT

VAULT = "vault"
POLL_MS = 1000
SILENT_POLLS = 10

_PARTITION = TopicPartition(AUDIT_HEADS.name, 0)


class NotTheVaults(Exception):
    """A statement that the vault did not sign, or none at all."""


def stated(verifier: Verifier, statement: str) -> StatedHeads:
    """Return what the statement says, if the vault signed it; raise `NotTheVaults`."""
    try:
        return StatedHeads.model_validate(verifier.statement(statement, VAULT, STATEMENT))
    except (Unauthenticated, ValidationError) as error:
        raise NotTheVaults from error


async def from_file(path: Path) -> AsyncIterator[str]:
    """Yield the statements of a file: JSON lines with a `statement` each; other lines of a log are passed over."""
    with path.open("rb") as lines:
        for line in lines:
            for statement in _statement(line):
                yield statement


async def from_topic(bootstrap: str) -> AsyncIterator[str]:
    """Yield every statement that the topic holds now; raise `Unavailable` where the broker does not answer."""
    try:
        async with partition_reader(bootstrap, [_PARTITION]) as consumer:
            async for value in _values(consumer):
                for statement in _statement(value):
                    yield statement
    except KafkaError as error:
        raise Unavailable("the message broker does not answer", retry_after=5) from error


async def _values(consumer: AIOKafkaConsumer) -> AsyncIterator[bytes]:
    consumer.pause(_PARTITION)  # else it looks for the end first, and may come to stand there after the seek
    begin = (await consumer.beginning_offsets([_PARTITION]))[_PARTITION]
    end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
    consumer.seek(_PARTITION, begin)
    consumer.resume(_PARTITION)
    while await consumer.position(_PARTITION) < end:
        for value in await _polled(consumer):
            yield value


async def _polled(consumer: AIOKafkaConsumer) -> list[bytes]:
    for _ in range(SILENT_POLLS):
        if found := await consumer.getmany(_PARTITION, timeout_ms=POLL_MS):
            return [record.value or b"" for record in found[_PARTITION]]
    raise Unavailable("the message broker does not deliver the published heads", retry_after=5)


def _statement(line: bytes) -> Iterator[str]:
    try:
        found = orjson.loads(line)
        yield AuditHeads.model_validate(found).statement
    except (orjson.JSONDecodeError, ValidationError):
        return
