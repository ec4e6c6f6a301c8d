"""What becomes of a batch of records: rows, marks on the hours they change, or nothing."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from itertools import chain
from operator import attrgetter
from typing import Literal, NamedTuple
from uuid import UUID, uuid4

import orjson
from pydantic import BaseModel, ValidationError

from analytics.database import BadDataError, Database, Table
from analytics.hours import Hour, hour_of
from common.admission import Admission, Admitted
from common.contracts.event import TYPE_HEADER
from common.contracts.runs_v1 import ORDERS, Millis, Operation, RunCompleted
from common.contracts.topics import GENERATIONS
from common.ids import now_ms
from common.kafka import Record

_TEXT_FIELDS = ("output", "response", "prompt_preview")
_UNSTORED = (*_TEXT_FIELDS, "limits")

RUNS = Table("runs", tuple(field for field in RunCompleted.model_fields if field not in _UNSTORED))
TEXTS = Table(
    "texts",
    ("workspace_id", "run_id", "execution_id", "accepted_at", "batch_id", "log_partition", "log_offset", *_TEXT_FIELDS),
)
BATCH_RUNS = Table(
    "batch_runs",
    (
        *("workspace_id", "batch_id", "log_topic", "log_partition", "log_offset", "log_bytes", "run_id"),
        *("execution_id", "custom_id", "accepted_at", "completed_at", "status", "operation", "provider", "model"),
        *("served_model", "finish_reason", "truncated", "usage", "cost", "error", "latency_ms"),
    ),
)
ACCEPTED = Table(
    "accepted",
    (
        *("workspace_id", "run_id", "accepted_at", "deadline", "user", "operation", "provider", "model"),
        *("prompt_id", "labels", "batch_id", "custom_id", "key_id"),
    ),
)
_of_acceptance = attrgetter(*ACCEPTED.columns)
MARKS = Table("dirty_hours", ("workspace_id", "hour", "state", "mark", "marked_at", "appended_at", "sign"))

AT_ONCE = 20_000
"""Records of one insert; of more, one share is sorted here while the engine reads another."""

COMPLETED_TOPICS = frozenset(generation.completed.name for generation in GENERATIONS)

COMPLETION_TYPES = (None, RunCompleted.TYPE.encode())
"""The completed topic carries the runner's journal too. A record without a type is judged by its content."""


class Identity(BaseModel):
    """What must be known of a completion here. The rest is checked by the engine that reads it: 5 µs instead of 32."""

    run_id: UUID
    execution_id: UUID
    workspace_id: UUID
    operation: Operation
    status: str  # one that is missing would be stored as the first of its kind, succeeded
    accepted_at: Millis
    completed_at: Millis
    batch_id: str | None = None


class Row(NamedTuple):
    """A record as it goes into the database: one JSON object."""

    record: Record
    line: bytes
    hour: Hour
    in_batch: bool = False


class Refused(NamedTuple):
    """A record that cannot be counted, and why."""

    record: Record
    reason: str


class Batch(NamedTuple):
    """Records, sorted by what they are."""

    completed: list[Row]
    accepted: list[Row]
    refused: list[Refused]


class Ingest:
    """Stores records so that storing them again changes nothing."""

    def __init__(self, database: Database, admission: Admission) -> None:
        self._database = database
        self._admission = admission

    async def store(self, records: Sequence[Record]) -> list[Refused]:
        """Return once the rows, and after them the marks on their hours, are on disk; answer what must be set aside.

        Raises `Unavailable` while the database cannot take them: call again, with the same records or more.
        """
        refused: list[Refused] = []
        async with aclosing(self._sorted_ahead(records)) as batches:
            async for batch in batches:
                refused += await self._insert_batch(batch)
        return refused

    async def _sorted_ahead(self, records: Sequence[Record]) -> AsyncGenerator[Batch, None]:
        """Yield shares of the records, sorted; the next is being sorted while one is being inserted."""
        shares = [records[first : first + AT_ONCE] for first in range(0, max(1, len(records)), AT_ONCE)]
        following = [asyncio.to_thread(self._sort, share) for share in shares]
        ahead = asyncio.create_task(following.pop(0))
        try:
            while following:
                batch, ahead = await ahead, asyncio.create_task(following.pop(0))
                yield batch
            yield await ahead
        finally:
            await asyncio.wait([ahead])
            for unsorted in following:
                unsorted.close()

    async def _insert_batch(self, batch: Batch) -> list[Refused]:
        refused = await asyncio.gather(self._insert_completed(batch.completed), self._insert(batch.accepted, ACCEPTED))
        if changed := [*batch.completed, *batch.accepted]:
            await self._database.insert(MARKS, list(_marks(changed)))
        return [*batch.refused, *chain(*refused)]

    def _sort(self, records: Iterable[Record]) -> Batch:
        batch = Batch([], [], [])
        for record in records:
            if record.topic in COMPLETED_TOPICS:
                _sort_completed(record, batch)
            elif row := self._accepted(record):
                batch.accepted.append(row)
        return batch

    def _accepted(self, record: Record) -> Row | None:
        """Return the row of a run that was accepted. What was not is set aside by the runner, not here."""
        verdict = self._admission.judge(record.value, record.headers, record.timestamp)
        if not isinstance(verdict, Admitted) or verdict.request.operation in ORDERS:
            return None
        request = verdict.request
        line = orjson.dumps(dict(zip(ACCEPTED.columns, _of_acceptance(request), strict=True)))
        return Row(record, line, (request.workspace_id, hour_of(request.accepted_at)))

    async def _insert_completed(self, rows: list[Row]) -> list[Refused]:
        """Insert the runs, and those of batches once more in the order of the log, unless they were refused."""
        refused = await self._insert(rows, RUNS, TEXTS)
        bad = {id(one.record) for one in refused}
        return [*refused, *await self._insert([r for r in rows if r.in_batch and id(r.record) not in bad], BATCH_RUNS)]

    async def _insert(self, rows: list[Row], *tables: Table) -> list[Refused]:
        """Insert into every table; take a batch that is refused apart until its bad rows stand alone."""
        if not rows:
            return []
        try:
            lines = [row.line for row in rows]
            await asyncio.gather(*(self._database.insert(table, lines) for table in tables))
        except BadDataError as error:
            if len(rows) == 1:
                return [Refused(rows[0].record, f"malformed: {error}")]
            parts = await asyncio.to_thread(_apart, rows)
            return [refused for part in parts for refused in await self._insert(part, *tables)]
        return []


def _apart(rows: list[Row]) -> list[list[Row]]:
    """Return those that look sound together, and each of the others alone; where that does not part them, two halves.

    A guess that saves inserts: 20 for each bad row of a large batch. The engine judges both.
    """
    sound: list[Row] = []
    suspect: list[Row] = []
    for row in rows:
        (sound if _looks_sound(row.line) else suspect).append(row)
    if sound and suspect:
        return [sound, *([row] for row in suspect)]
    return [rows[: len(rows) // 2], rows[len(rows) // 2 :]]


def _looks_sound(line: bytes) -> bool:
    try:
        RunCompleted.model_validate_json(line)
    except ValidationError:
        return False
    return True


def _sort_completed(record: Record, batch: Batch) -> None:
    if dict(record.headers).get(TYPE_HEADER) not in COMPLETION_TYPES:
        return
    line = record.value or b""
    try:
        run = Identity.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        batch.refused.append(Refused(record, f"malformed: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"))
        return
    if run.operation not in ORDERS:
        hour = run.workspace_id, hour_of(run.accepted_at)
        batch.completed.append(Row(record, _placed(record), hour, True) if run.batch_id else Row(record, line, hour))


def _placed(record: Record) -> bytes:
    """Return the record's JSON object with its place in the log, which readers of its batch go by."""
    assert record.value is not None
    place = b'{"log_topic":"%b","log_partition":%d,"log_offset":%d,"log_bytes":%d,' % (
        record.topic.encode(),
        record.partition,
        record.offset,
        len(record.value),
    )
    return place + record.value.lstrip()[1:]


def _marks(rows: Iterable[Row]) -> Iterable[bytes]:
    oldest: dict[Hour, int] = {}
    for row in rows:
        oldest[row.hour] = min(row.record.timestamp, oldest.get(row.hour, row.record.timestamp))
    now = now_ms()
    for hour, appended_at in oldest.items():
        yield mark_row(hour, "fresh", uuid4(), marked_at=now, appended_at=appended_at)


def mark_row(
    hour: Hour,
    state: Literal["fresh", "settling"],
    name: UUID,
    *,
    marked_at: int = 0,
    appended_at: int = 0,
    sign: Literal[1, -1] = 1,
) -> bytes:
    """Return a row that sets a mark on an hour (sign 1), or clears the mark of that name (sign -1)."""
    values = (*hour, state, name, marked_at, appended_at, sign)
    return orjson.dumps(dict(zip(MARKS.columns, values, strict=True)))
