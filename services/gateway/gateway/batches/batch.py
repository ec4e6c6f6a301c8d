"""A batch: what was asked for, how far it got, and the states that it goes through."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args
from uuid import UUID

from common.ids import new_id

State = Literal[
    "validating", "failed", "in_progress", "paused", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
STATES: tuple[State, ...] = get_args(State)
CANCELLABLE: tuple[State, ...] = ("validating", "in_progress", "paused")
RETRYABLE: tuple[State, ...] = ("completed", "expired", "cancelled")
"""Ended, with a result for every row."""

Mode = Literal["online", "provider", "auto"]
"""Row by row, now; through the providers' own batches, within a day; whichever suits."""

RunsAs = Literal["online", "provider"]

Endpoint = Literal["/v1/chat/completions", "/v1/messages"]

ASKED_TO_PAUSE = "paused on request"


@dataclass(frozen=True)
class LineError:
    """What is wrong with one line of the input, counted from 1; None is about the file, or about further lines."""

    line: int | None
    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far a batch got. `cost` is in US dollars, `rate` in rows a second, `read_up_to` UTC ms.

    `fed` counts rows that were ever sent to the log; each row is in at most one of the five counts after it.
    """

    rows: int = 0
    fed: int = 0
    in_flight: int = 0
    succeeded: int = 0
    failed: int = 0
    expired: int = 0
    cancelled: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    rate: float = 0.0
    seconds_left: int | None = None
    read_up_to: int | None = None

    @property
    def unsuccessful(self) -> int:
        """How many rows ended without an answer."""
        return self.failed + self.expired + self.cancelled


@dataclass(frozen=True)
class Batch:
    """A batch as it stands. Times are UTC ms, money US dollars.

    `models` holds what the names in its rows were found to mean: `{name: [provider, model]}`. `paused_for`: the
    provider whose next key resumes it. `quoted_low` and `quoted_high` say what the rows were expected to cost when they
    were validated, but for `quoted_unpriced` rows.
    """

    id: str
    workspace_id: UUID
    user: str
    file_id: str
    created_at: int
    deadline: int
    name: str | None = None
    endpoint: str | None = None
    model: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    max_cost: Decimal | None = None
    retry_of: str | None = None
    output_seconds: int | None = None
    state: State = "validating"
    paused_reason: str | None = None
    paused_for: str | None = None
    started_at: int | None = None
    cancelling_at: int | None = None
    finalizing_at: int | None = None
    ended_at: int | None = None
    models: dict[str, list[str]] = field(default_factory=dict)
    errors: list[LineError] = field(default_factory=list)
    progress: Progress = Progress()
    quoted_low: Decimal | None = None
    quoted_high: Decimal | None = None
    quoted_unpriced: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    mode: Mode = "online"
    runs_as: RunsAs | None = None
    runs_as_why: str | None = None
    parts: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Claimed:
    """A batch that this replica owns until `lease_until`; it was owned before until `owned_until` (0: never)."""

    batch: Batch
    lease_until: int
    owned_until: int


def new_batch_id() -> str:
    """Return a fresh id."""
    return f"batch_{new_id().hex}"


def change_of(progress: Progress) -> dict[str, Any]:
    """Return the progress as JSON can say it: decimals as text."""
    return {**vars(progress), "cost": str(progress.cost)}


def progress_of(told: dict[str, Any]) -> Progress:
    """Return the progress that was written with `change_of`."""
    return Progress(**{**told, "cost": Decimal(told.get("cost", 0))})
