"""Records that were set aside as no runs, as the gateway tells of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic.alias_generators import to_camel

from tallyrun.wire import Told

Outcome = Literal["replayed", "already_replayed", "already_accepted", "cannot_be_replayed"]


@dataclass(frozen=True)
class RejectedFilter:
    """Which records are meant: all that fit every field given. `reason`: text that the reason contains."""

    service: str | None = None
    topic: str | None = None
    reason: str | None = None
    workspace_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def asked(self) -> dict[str, Any]:
        """Return the fields that are given, by their names on the wire."""
        return {to_camel(name): _written(value) for name, value in vars(self).items() if value is not None}


EVERYTHING = RejectedFilter()


class RejectedRecord(Told):
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


class ReplayedRecord(Told):
    """What became of one record, or would; `why` says more where there is more to say."""

    offset: int
    run_id: UUID | None
    outcome: Outcome
    why: str


class RejectedPage(Told):
    """Some rejected records, oldest first; `next_cursor` None is the end."""

    records: list[RejectedRecord]
    next_cursor: str | None


class ReplayPage(Told):
    """What became of some records; `next_cursor` None is the end."""

    records: list[ReplayedRecord]
    next_cursor: str | None


def _written(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
