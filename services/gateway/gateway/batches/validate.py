"""A batch's file, line by line: what is wrong with it, or where its rows lie."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from common.catalogue import Rate, rate
from common.contracts.topics import MAX_BODY_BYTES
from gateway.batches.batch import LineError
from gateway.batches.budget import Unbounded, bound
from gateway.batches.index import RowIndex
from gateway.batches.lines import Line, lines
from gateway.batches.mode import Kinds
from gateway.batches.quote import Quoting
from gateway.batches.rows import LineFault, Request, RowReader

MOST_ROWS = 50_000
"""As OpenAI's batches have it: https://platform.openai.com/docs/guides/batch"""

Limited = Literal["listed", "discounted"] | None
"""At which price each row is bounded, as a spend limit needs it: discounted is that of the providers' own batches."""

LISTED_ERRORS = 100
ROWS_AT_ONCE = 50
"""So many rows are read between two looks at what else there is to do."""


@dataclass
class Validated:
    """The rows that are good, and the first faults of those that are not."""

    index: RowIndex = field(default_factory=RowIndex)
    errors: list[LineError] = field(default_factory=list)
    more: int = 0
    kinds: Kinds = field(default_factory=Kinds)

    def add(self, error: LineError) -> None:
        """Note a fault, or count it where enough are listed."""
        if len(self.errors) < LISTED_ERRORS:
            self.errors.append(error)
        else:
            self.more += 1

    def listed(self) -> list[LineError]:
        """Return the faults, and how many more there are."""
        if not self.more:
            return self.errors
        return [*self.errors, LineError(None, "more_errors", f"and {self.more:,} more lines with errors")]


async def validate(
    content: AsyncIterator[bytes],
    reader: RowReader,
    quoting: Quoting | None = None,
    *,
    limited: Limited = None,
) -> Validated:
    """Read the whole file; `quoting` adds the rows up that are good."""
    found = Validated()
    async for row in read_rows(content, reader, found.index, limited=limited):
        if isinstance(row, LineError):
            found.add(row)
            continue
        found.kinds.add(row)
        if quoting is not None:
            await quoting.add(row.spec, row.model, row.body)
    if not len(found.index) and not found.errors:
        found.add(LineError(None, "empty_file", "the file has no rows"))
    return found


async def read_rows(
    content: AsyncIterator[bytes], reader: RowReader, index: RowIndex, *, limited: Limited = None
) -> AsyncIterator[Request | LineError]:
    """Yield each row, which then is in the index, or what is wrong with its line; it ends with the row too many."""
    seen = 0
    async for line in lines(content, MAX_BODY_BYTES):
        seen += 1
        if seen > MOST_ROWS:
            message = f"the file has more than {MOST_ROWS:,} rows: split it"
            yield LineError(line.number, "too_many_rows", message)
            return
        yield await _row(line, reader, index, limited=limited)
        if seen % ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)


async def _row(line: Line, reader: RowReader, index: RowIndex, *, limited: Limited) -> Request | LineError:
    try:
        row = await reader.read(line.content)
        most = _bound(row, batch=limited == "discounted") if limited else Decimal(0)
    except LineFault as fault:
        return LineError(line.number, fault.code, fault.message, fault.param)
    if index.add(row.custom_id, line, most):
        return row
    return LineError(line.number, "duplicate_custom_id", f"'{row.custom_id}' came before", "custom_id")


def _bound(row: Request, *, batch: bool) -> Decimal:
    catalogue, today = row.spec.catalogue, datetime.now(UTC).date()
    price = None if catalogue is None else _highest(catalogue, row.model, today, batch=batch)
    if price is None:
        message = f"'{row.spec.name}/{row.model}' has no price, and a spend limit needs one: leave the limit out"
        raise LineFault("unpriced_model", message, "model")
    try:
        return bound(row.body, row.size, price)
    except Unbounded as error:
        message = f"{error}, and a spend limit needs one: leave the limit out"
        raise LineFault("unbounded_cost", message, "messages") from error


@lru_cache(maxsize=1024)
def _highest(catalogue: str, model: str, day: date, *, batch: bool) -> Rate | None:
    """Return the highest price within the day: some providers' depend on the hour."""
    begins = datetime.combine(day, time(), UTC)
    prices = [rate(catalogue, model, begins + timedelta(hours=hour), batch=batch) for hour in range(25)]
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return None
    return Rate(*(max(getattr(price, name) for price in known) for name in ("input", "output", "request")))
