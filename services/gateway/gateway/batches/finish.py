"""The end of a batch: its output and error files, its counts, and the state that it ends in."""

from collections import Counter
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace

from common.contracts.runs_v1 import Status
from common.ids import now_ms
from gateway.batches.batch import Batch, Progress, State
from gateway.batches.files import Draft, Files, StoredFile
from gateway.batches.output import has_answer, line
from gateway.batches.results import Results
from gateway.batches.truth import BatchLog

OUTPUT = "batch_output"


class Finishing:
    """Writes down how a batch ended, out of what analytics shows and the input; begun anew after a crash."""

    def __init__(self, results: Results, files: Files, analytics: BatchLog) -> None:
        self._results = results
        self._files = files
        self._analytics = analytics

    async def finish(self, batch: Batch) -> dict[str, object]:
        """Write the files of a batch that is finalizing, and return what is then known of it."""
        counts: Counter[Status] = Counter()
        async with AsyncExitStack() as stack:
            output = await stack.enter_async_context(self._file(batch, "output"))
            errors = await stack.enter_async_context(self._file(batch, "errors"))
            async for result in self._results.stream(batch, texts=True):
                counts[result.status] += 1
                await (output if has_answer(result) else errors).write(line(batch, result))
        progress = await self._progress(batch, counts)
        return {
            "state": state_of(batch, counts),
            "ended_at": now_ms(),
            "progress": progress,
            "output_file_id": await self._kept(output.file),
            "error_file_id": await self._kept(errors.file),
        }

    def _file(self, batch: Batch, kind: str) -> AbstractAsyncContextManager[Draft]:
        seconds = batch.output_seconds
        expires_at = None if seconds is None else now_ms() + seconds * 1000
        return self._files.writing(batch.workspace_id, f"{batch.id}_{kind}.jsonl", OUTPUT, expires_at=expires_at)

    async def _progress(self, batch: Batch, counts: Counter[Status]) -> Progress:
        """Return the exact figures: of rows as they stand in the files, of money as analytics has added it up."""
        totals = await self._analytics.batch_totals(batch.workspace_id, batch.id, batch.created_at, now_ms() + 1)
        return replace(
            batch.progress,
            rows=sum(counts.values()),
            in_flight=0,
            **{status: counts[status] for status in ("succeeded", "failed", "expired", "cancelled")},
            cost=totals.cost,
            unpriced=totals.unpriced,
            rate=0.0,
            seconds_left=0,
            read_up_to=totals.read_up_to,
        )

    async def _kept(self, file: StoredFile) -> str | None:
        """Return the file's id; an empty one is removed."""
        if file.bytes:
            return file.id
        await self._files.delete(file.workspace_id, file.id)
        return None


def state_of(batch: Batch, counts: Counter[Status]) -> State:
    """Return what the batch ended as."""
    if batch.cancelling_at is not None:
        return "cancelled"
    return "expired" if counts["expired"] else "completed"
