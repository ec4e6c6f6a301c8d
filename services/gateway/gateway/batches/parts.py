"""The parts that a batch goes to providers in: what is known of each, and its file."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field

from common.contracts.provider_batches_v1 import MOST_BYTES, MOST_LINES, Part, Why
from common.contracts.runs_v1 import Operation, RunError
from common.errors import Unavailable
from common.ids import new_id
from common.jsonl import lines
from common.objects import Objects
from gateway.batches.batch import Batch
from gateway.batches.mode import Kind
from gateway.batches.rows import Request

log = logging.getLogger(__name__)

Stage = Literal["new", "written", "submitting", "submitted", "ended", "collected", "done"]
"""`submitting`: an order to hand it over was given, and may have been carried out. `done`: each row's end is known."""


class PartRecord(BaseModel):
    """One part as it stands. Times are UTC ms; `why`, `again_at` and `failure` as in `Collect`.

    `tried_until`: until when the order to hand it over may be under way. The counts are the provider's.
    """

    model_config = ConfigDict(extra="ignore")

    id: UUID = Field(default_factory=new_id)
    provider: str
    model: str
    operation: Operation
    rows: int = 0
    stage: Stage = "new"
    key_id: UUID | None = None
    tried_at: int | None = None
    tried_until: int | None = None
    provider_batch: str | None = None
    state: str = ""
    submitted_at: int | None = None
    completed: int | None = None
    failed: int | None = None
    ended_at: int | None = None
    why: Why | None = None
    again_at: int | None = None
    failure: RunError | None = None

    def stored(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return self.model_dump(mode="json", exclude_none=True)

    def contract(self, batch: Batch) -> Part:
        """Return what runners are told of it."""
        file = part_file(batch, self)
        return Part(id=self.id, file=file, rows=self.rows, operation=self.operation, batch_id=batch.id)


@dataclass(eq=False)
class FormedPart:
    """A part with its rows, each with the round that it is in."""

    record: PartRecord
    rows: list[tuple[int, int]] = field(default_factory=list)


def part_file(batch: Batch, record: PartRecord) -> str:
    """Return the name of a part's file in the object store."""
    return f"{batch.id}-part-{record.id.hex}"


def new_part(kind: Kind) -> PartRecord:
    """Return a part of such rows, without any yet."""
    return PartRecord(provider=kind.spec.name, model=kind.model, operation=kind.operation)


def part_line(run_id: UUID, row: Request) -> bytes:
    """Return a row's line in its part's file."""
    return orjson.dumps({"run_id": str(run_id), "custom_id": row.custom_id, "body": row.body}) + b"\n"


def is_full(lines: int, size: int, more: int) -> bool:
    """Whether a part of so many lines and bytes has no room for so many more bytes."""
    return lines >= MOST_LINES or (lines > 0 and size + more > MOST_BYTES)


async def rows_in(objects: Objects, file: str) -> AsyncIterator[tuple[UUID, str]]:
    """Yield the run and the custom id of each row in a part's file."""
    async for line in lines(objects.read(file)):
        told = orjson.loads(line)
        yield UUID(told["run_id"]), told["custom_id"]


async def remove_parts(batch: Batch, objects: Objects) -> None:
    """Remove the files of a batch's parts, once nothing is read of them any more."""
    for record in map(PartRecord.model_validate, batch.parts):
        try:
            await objects.delete(part_file(batch, record))
        except Unavailable as error:
            log.warning("a part's file stays: %s", error.message, extra={"batch": batch.id})
