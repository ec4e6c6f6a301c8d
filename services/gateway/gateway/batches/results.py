"""The results of a batch, row by row while they arrive: each row once, by its last round."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import orjson

from common.contracts.batch_answers_v1 import BatchRow, BatchRows
from common.contracts.runs_v1 import Status
from common.contracts.topics import MAX_BODY_BYTES
from gateway.batches.again import End, may_come_again
from gateway.batches.batch import Batch
from gateway.batches.files import Files
from gateway.batches.index import digest
from gateway.batches.lines import lines
from gateway.batches.rounds import round_of
from gateway.batches.truth import BatchLog

PAGE = {True: 200, False: 1000}
"""Rows a page, with texts and without."""

FOLLOW_SECONDS = 1.0

SETTLED = ("finalizing", "completed", "expired", "cancelled")
"""Every row has its last round behind it."""


@dataclass(frozen=True)
class Result:
    """How a row ended; without a run it was never fed, and `code` says why."""

    custom_id: str
    status: Status
    code: str | None
    message: str | None
    run: BatchRow | None


Refresh = Callable[[], Awaitable[Batch]]
"""Returns the batch as it stands now."""


class Results:
    """Reads results from analytics, and from the input what was never fed. Needs no memory of the feeding."""

    def __init__(self, analytics: BatchLog, files: Files) -> None:
        self._analytics = analytics
        self._files = files

    async def stream(self, batch: Batch, refresh: Refresh | None = None, *, texts: bool) -> AsyncIterator[Result]:
        """Yield what has ended. With `refresh` follow the batch to its end; without, stop where it stands.

        A row whose end may not be its last word comes once the batch is settled.
        """
        reading = _Reading(batch)
        cursor: str | None = None
        while True:
            settled = batch.state in SETTLED
            page = await self._page(batch, cursor, texts=texts)
            cursor = page.next_cursor
            for run in page.rows:
                if reading.take(run):
                    yield _ended(run)
            if page.rows:
                continue
            if settled or refresh is None or batch.ended_at is not None:
                break
            await asyncio.sleep(FOLLOW_SECONDS)
            batch = await refresh()
        if settled:
            async for result in self._rest(batch, reading, texts=texts):
                yield result

    async def _rest(self, batch: Batch, reading: "_Reading", *, texts: bool) -> AsyncIterator[Result]:
        """Yield the rows whose last round could have been followed by another, then those that were never fed."""
        cursor: str | None = None
        while reading.deferred:
            page = await self._page(batch, cursor, texts=texts)
            cursor = page.next_cursor
            for run in page.rows:
                if reading.take_last(run):
                    yield _ended(run)
            if not page.rows:
                break
        if len(reading.seen) < batch.progress.rows:
            async for custom_id in self._custom_ids(batch):
                if digest(custom_id) not in reading.seen:
                    yield never_fed(batch, custom_id)

    async def _page(self, batch: Batch, cursor: str | None, *, texts: bool) -> BatchRows:
        return await self._analytics.batch_rows(batch.workspace_id, batch.id, cursor, PAGE[texts], texts=texts)

    async def _custom_ids(self, batch: Batch) -> AsyncIterator[str]:
        async for line in lines(self._files.read(batch.file_id), MAX_BODY_BYTES):
            custom_id = custom_id_in(line.content)
            if custom_id is not None:
                yield custom_id


class _Reading:
    """Which rows came already. `deferred`: the last round seen of rows that may have come again."""

    def __init__(self, batch: Batch) -> None:
        self.seen: set[int] = set()
        self.deferred: dict[int, int] = {}
        self._batch = batch

    def take(self, run: BatchRow) -> bool:
        """Return whether this is a row's result for sure."""
        placed = self._placed(run)
        if placed is None or placed[0] in self.seen:
            return False
        row, number = placed
        if may_come_again(end_of(run), self._batch.deadline):
            self.deferred[row] = max(number, self.deferred.get(row, 0))
            return False
        self.seen.add(row)
        self.deferred.pop(row, None)
        return True

    def take_last(self, run: BatchRow) -> bool:
        """Return whether this is a row's result, now that no round follows."""
        placed = self._placed(run)
        if placed is None or self.deferred.get(placed[0]) != placed[1]:
            return False
        self.seen.add(placed[0])
        del self.deferred[placed[0]]
        return True

    def _placed(self, run: BatchRow) -> tuple[int, int] | None:
        if run.custom_id is None:
            return None
        row = digest(run.custom_id)
        number = round_of(self._batch.id, run.custom_id, run.run_id)
        return None if number is None else (row, number)


def end_of(run: BatchRow) -> End:
    """Return how the run ended, as far as feeding it again goes."""
    return End(run.status, run.error_code, run.retry_at)


def custom_id_in(content: bytes | None) -> str | None:
    """Return the custom id of a line that was validated before."""
    try:
        line = orjson.loads(content or b"")
    except orjson.JSONDecodeError:
        return None
    custom_id = line.get("custom_id") if isinstance(line, dict) else None
    return custom_id if isinstance(custom_id, str) else None


def never_fed(batch: Batch, custom_id: str) -> Result:
    """Return the result of a row that was never fed, by what ended its batch."""
    if batch.cancelling_at is not None:
        return Result(custom_id, "cancelled", "batch_cancelled", "the batch was cancelled before this row's turn", None)
    if batch.finalizing_at is not None and batch.finalizing_at >= batch.deadline:
        return Result(custom_id, "expired", "batch_expired", "the batch's deadline came before this row's turn", None)
    message = "this row could have exceeded the batch's spend limit"
    return Result(custom_id, "failed", "spend_limit", message, None)


def _ended(run: BatchRow) -> Result:
    code = {"cancelled": "batch_cancelled", "expired": "batch_expired"}.get(run.status, run.error_code)
    return Result(run.custom_id or "", run.status, code, run.error, run)
