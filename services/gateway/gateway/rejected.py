"""Records that were set aside as no runs: how operators pick among them, and what they are told of each."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Self
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from common.contracts.answers_v1 import Answer
from common.contracts.runs_v1 import Name, RunRejected
from common.errors import InvalidRequest
from gateway.moment import Moment, moment

NAME_CHARACTERS = 256
"""As in the contract: a longer name is none, and may be anything."""

MOST_OFFSET = 2**63 - 2
"""An offset is a signed 64-bit number, and so is the one after it."""


@dataclass(frozen=True)
class SetAside:
    """A record of `runs.rejected.v1`: where it lay and why it is no run, and its own bytes. Times in UTC ms."""

    offset: int
    rejected_at: int
    origin: RunRejected
    key: bytes | None
    value: bytes


class Span(NamedTuple):
    """What is left to read, as offsets of the rejected topic. Its end stays: what comes later is another question's."""

    next: int
    end: int

    def cursor(self) -> str | None:
        """Return the cursor that stands for it; None once everything is read."""
        return f"{self.next}-{self.end}" if self.next < self.end else None

    @classmethod
    def of(cls, cursor: str) -> Self:
        """Read a cursor, or raise `InvalidRequest`."""
        left, _, right = cursor.partition("-")
        if not (left.isdecimal() and right.isdecimal()):
            raise InvalidRequest("cursor: not one that a page of rejected records answered")
        return cls(int(left), int(right))


class Asked(BaseModel):
    """Which records are meant: all that fit every filter given, oldest first, `limit` at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    service: Literal["runner", "analytics"] | None = None
    topic: Name | None = None
    reason: Annotated[Name | None, Field(description="text that the reason contains")] = None
    workspace_id: UUID | None = None
    since: Moment | None = None
    until: Moment | None = None
    offset: Annotated[int | None, Field(ge=0, le=MOST_OFFSET, description="this record alone")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100
    cursor: Annotated[str | None, Field(max_length=64)] = None

    def span(self) -> Span | None:
        """Return where the last page ended, or where the one record lies; None for a first page."""
        if self.offset is not None:
            return Span(self.offset, self.offset + 1)
        return None if self.cursor is None else Span.of(self.cursor)

    def wants(self, record: SetAside) -> bool:
        """Whether the record fits."""
        origin = record.origin
        return (
            self.service in {None, origin.service}
            and self.topic in {None, origin.topic}
            and (self.reason or "") in origin.reason
            and (self.since is None or record.rejected_at >= self.since.timestamp() * 1000)
            and (self.until is None or record.rejected_at < self.until.timestamp() * 1000)
            and (self.workspace_id is None or gist(record.value).workspace_id == self.workspace_id)
        )


class Gist(NamedTuple):
    """What can be said of a run from bytes that may be anything. Never the prompt."""

    run_id: UUID | None
    workspace_id: UUID | None
    provider: str | None
    model: str | None


class RejectedAnswer(Answer):
    """One record: `offset` in the rejected topic; topic, partition and `origin_offset` are where it lay."""

    offset: int
    rejected_at: datetime
    reason: str
    service: str
    topic: str
    partition: int
    origin_offset: int
    size: int
    run_id: UUID | None
    workspace_id: UUID | None
    provider: str | None
    model: str | None


class RejectedPage(Answer):
    """Some records, oldest first. A page may be short, or empty, and have more after it: `next_cursor` alone tells."""

    records: list[RejectedAnswer]
    next_cursor: str | None


class Reading(Protocol):
    """One pass over the rejected topic."""

    @property
    def span(self) -> Span:
        """What is left to read."""

    @property
    def begin(self) -> int:
        """The offset before which retention has taken everything."""

    def records(self) -> AsyncIterator[SetAside]:
        """Yield what is left, or as much of it as one request may read."""


class RejectedLog(Protocol):
    """Where the records lie."""

    def reading(self, span: Span | None, since: datetime | None) -> AbstractAsyncContextManager[Reading]:
        """Begin a pass over this span; without one over everything there is now, set aside at `since` or later."""


async def picked(reading: Reading, asked: Asked) -> AsyncIterator[SetAside]:
    """Yield the records that fit, `asked.limit` at most."""
    left = asked.limit
    async for record in reading.records():
        if asked.wants(record):
            yield record
            left -= 1
            if not left:
                return


async def listed(log: RejectedLog, asked: Asked) -> RejectedPage:
    """Return one page."""
    async with log.reading(asked.span(), asked.since) as reading:
        records = [told(record) async for record in picked(reading, asked)]
        return RejectedPage(records=records, next_cursor=reading.span.cursor())


def gist(value: bytes) -> Gist:
    """Read what there is."""
    try:
        body = orjson.loads(value)
    except orjson.JSONDecodeError:
        body = None
    fields = body if isinstance(body, dict) else {}
    return Gist(
        run_id=_uuid(fields.get("run_id")),
        workspace_id=_uuid(fields.get("workspace_id")),
        provider=_name(fields.get("provider")),
        model=_name(fields.get("model")),
    )


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value)
    except (TypeError, ValueError, AttributeError):
        return None


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= NAME_CHARACTERS else None


def told(record: SetAside) -> RejectedAnswer:
    """Return what is said of a record in a list."""
    origin = record.origin
    return RejectedAnswer(
        offset=record.offset,
        rejected_at=moment(record.rejected_at),
        reason=origin.reason,
        service=origin.service,
        topic=origin.topic,
        partition=origin.partition,
        origin_offset=origin.offset,
        size=len(record.value),
        **gist(record.value)._asdict(),
    )
