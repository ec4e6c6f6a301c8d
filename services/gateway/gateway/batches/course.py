"""The course of a batch that is being fed: its rows, its money, its rate. Pure: nothing is sent or asked here."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from common.contracts.batch_answers_v1 import BatchRow
from common.contracts.runs_v1 import RunCompleted
from gateway.batches.again import End
from gateway.batches.batch import Batch, Progress, change_of
from gateway.batches.budget import Budget
from gateway.batches.index import RowIndex
from gateway.batches.rounds import round_id, round_of
from gateway.batches.states import RowState, RowStates
from gateway.batches.window import Rate, window


@dataclass(frozen=True)
class Refusal:
    """A key that a provider refused, and how."""

    provider: str
    code: str
    message: str

    def paused(self) -> dict[str, Any]:
        """Return the fields of a batch that waits for another key."""
        reason = f"{self.code}: {self.provider} refuses the key: {self.message}"
        return {"state": "paused", "paused_reason": reason, "paused_for": self.provider}


class Course:
    """Takes in what replies tell and what analytics shows, and says which row is next. Times are UTC ms."""

    def __init__(self, batch: Batch, index: RowIndex, clock: Callable[[], float] = time.monotonic) -> None:
        self.states = RowStates(len(index), batch.deadline)
        self.budget = Budget(batch.max_cost)
        self.index = index
        self.refusal: Refusal | None = None
        self.read_up_to: int | None = None
        self._batch_id = batch.id
        self._rate = Rate()
        self._clock = clock

    def run_id(self, row: int, custom_id: str) -> UUID:
        """Return the id of the row's run in the round that it is in."""
        return round_id(self._batch_id, custom_id, self.states.round(row))

    def next(self, now: int) -> int | None:
        """Return the row to be fed now. One that can never fit the spend limit is given up on the way."""
        while (row := self.states.next(now)) is not None:
            if self.budget.fits(self.index.bound(row)):
                return row
            if self.states.flights or self.budget.unconfirmed:
                return None  # these may cost less than they might
            self.states.give_up(row, RowState.FAILED)
        return None

    def room(self) -> int:
        """Return how many rows may be fed now."""
        rate, latency = self._rate.measured(self._clock())
        return window(rate, latency) - len(self.states.flights)

    def start(self, row: int, now: int) -> None:
        """Note that the row is sent."""
        self.states.start(row, now)
        self.budget.reserve(row, self.index.bound(row))

    def unsent(self, row: int, now: int) -> None:
        """Note that the row never got there."""
        self.states.unsent(row, now)
        self.budget.release(row)

    def give_up(self, row: int, now: int) -> None:
        """Note that the row, which was to be sent, never can be."""
        self.unsent(row, now)
        self.states.give_up(row, RowState.FAILED)

    def accepted(self, run_id: UUID, custom_id: str | None) -> None:
        """Learn, after a crash, what the log has."""
        row, number = self._placed(run_id, custom_id)
        if row is not None:
            self.states.accepted(row, number)
            if row in self.states.flights:
                self.budget.reserve(row, self.index.bound(row))

    def is_current(self, run_id: UUID, custom_id: str | None) -> bool:
        """Whether this is the run of the round that its row is in."""
        row, number = self._placed(run_id, custom_id)
        return row is not None and number == self.states.round(row)

    def told(self, run: RunCompleted, now: int) -> None:
        """Take in a reply: a hint, since it may be lost, and analytics shows the same later."""
        row, number = self._placed(run.run_id, run.custom_id)
        if row is None or row not in self.states.flights or number != self.states.round(row):
            return
        self.budget.told(run.execution_id, run.cost.total, self.index.bound(row))
        code, retry_at = (run.error.code, run.error.retry_at) if run.error else (None, None)
        self._ended(row, number, End(run.status, code, retry_at), run, now)
        self._rate.ended(self._clock(), run.latency_ms / 1000)

    def shown(self, run: BatchRow, now: int) -> None:
        """Take in what analytics shows: the truth, each execution once."""
        row, number = self._placed(run.run_id, run.custom_id)
        self.budget.counted(run.execution_id, run.cost, Decimal(0) if row is None else self.index.bound(row))
        if row is None:
            return
        if row in self.states.flights:
            self._rate.ended(self._clock(), run.latency / 1000)
        self._ended(row, number, End(run.status, run.error_code, run.retry_at), run, now)

    def progress(self) -> Progress:
        """Return how far the batch got."""
        count, rate = self.states.count, self._rate.measured(self._clock())[0]
        return Progress(
            rows=len(self.index),
            fed=self.states.fed,
            in_flight=count(RowState.IN_FLIGHT),
            succeeded=count(RowState.SUCCEEDED),
            failed=count(RowState.FAILED),
            expired=count(RowState.EXPIRED),
            cancelled=count(RowState.CANCELLED),
            cost=self.budget.cost,
            unpriced=self.budget.unpriced,
            rate=round(rate, 2),
            seconds_left=round(self.states.open / rate) if rate else None,
            read_up_to=self.read_up_to,
        )

    def stored(self) -> dict[str, Any]:
        """Return the fields of a batch that this is kept in."""
        return {"progress": change_of(self.progress())}

    def _ended(self, row: int, number: int, end: End, run: RunCompleted | BatchRow, now: int) -> None:
        if self.states.ended(row, number, end, now):
            message = run.error if isinstance(run, BatchRow) else run.error and run.error.message
            self.refusal = Refusal(run.provider, end.code or "", message or "")
        if row not in self.states.flights:
            self.budget.release(row)

    def _placed(self, run_id: UUID, custom_id: str | None) -> tuple[int | None, int]:
        """Return the row and the round that a run is of; no row for one that somebody else published."""
        row = self.index.find(custom_id)
        if row is None or custom_id is None:
            return None, 0
        number = round_of(self._batch_id, custom_id, run_id, likely=self.states.round(row))
        return (None, 0) if number is None else (row, number)
