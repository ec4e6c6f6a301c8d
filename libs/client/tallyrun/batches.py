"""A batch as the gateway tells of it, and what it would cost."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from tallyrun.wire import Told

State = Literal[
    "validating", "failed", "in_progress", "paused", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
Only = Literal["ok", "failed", "expired", "cancelled"]
"""Which rows' results are meant."""

Again = Literal["failed", "expired", "cancelled"]
"""Which rows are run again."""

Mode = Literal["online", "provider", "auto"]
"""Row by row, now; through the providers' own batches, at their discount and within a day; whichever suits."""

RunsAs = Literal["online", "provider"]

ENDED = frozenset({"failed", "completed", "expired", "cancelled"})


class BatchFault(Told):
    """Why a batch was not begun, or a line of it not accepted."""

    line: int | None = None
    code: str
    message: str
    param: str | None = None


class QuotedModel(Told):
    """One model's share of a quote: tokens and US dollars as ranges, None without a price; `basis` tells from what."""

    provider: str
    model: str
    rows: int
    unpriced_rows: int
    input_low: int
    input_high: int
    output_low: int
    output_high: int
    low: Decimal | None
    high: Decimal | None
    basis: str


class Quote(Told):
    """What a batch would cost, as a range in US dollars. The `unpriced_rows`, of unknown models, are not in it.

    `runs_as`: how its rows would be run, and so at which price; `runs_as_why`, where not as it was asked for.
    """

    rows: int
    unpriced_rows: int
    low: Decimal
    high: Decimal
    models: list[QuotedModel] = []
    runs_as: RunsAs = "online"
    runs_as_why: str | None = None
    errors: list[BatchFault] = []


class Expected(Told):
    """What a batch was expected to cost when its rows had been read, in US dollars, but for `unpriced_rows`."""

    low: Decimal
    high: Decimal
    unpriced_rows: int = 0


class BatchPart(Told):
    """Rows that went to a provider as one of its own batches; the counts are those that it tells of, if it does."""

    provider: str
    model: str
    rows: int
    stage: str
    provider_batch_id: str | None = None
    state: str | None = None
    completed: int | None = None
    failed: int | None = None
    submitted_at: datetime | None = None
    ended_at: datetime | None = None


class BatchStatus(Told):
    """A batch at one moment. Counts are of rows; `cost` in US dollars, without the `unpriced` rows."""

    id: str
    name: str | None = None
    state: State
    paused_reason: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deadline: datetime | None = None
    rows: int
    fed: int = 0
    in_flight: int = 0
    succeeded: int
    failed: int
    expired: int
    cancelled: int
    cost: Decimal
    unpriced: int = 0
    max_cost: Decimal | None = None
    rate_per_second: float | None = None
    seconds_left: float | None = None
    retry_of: str | None = None
    labels: Mapping[str, str] = {}
    errors: list[BatchFault] = []
    file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    read_up_to: datetime | None = None
    quote: Expected | None = None
    mode: Mode = "online"
    runs_as: RunsAs | None = None
    runs_as_why: str | None = None
    parts: list[BatchPart] = []

    @property
    def done(self) -> int:
        """How many rows have ended."""
        return self.succeeded + self.failed + self.expired + self.cancelled

    @property
    def ended(self) -> bool:
        """Whether nothing more will change."""
        return self.state in ENDED

    @property
    def eta(self) -> timedelta | None:
        """How long it will take, at the rate of now."""
        return None if self.seconds_left is None else timedelta(seconds=self.seconds_left)


class BatchPage(Told):
    """Some batches, newest first; `next_cursor` None is the end."""

    batches: list[BatchStatus]
    next_cursor: str | None
