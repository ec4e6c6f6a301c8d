"""What callers do with batches: submit, cancel, pause, resume, run again what failed."""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, Protocol
from uuid import UUID

import orjson

from common.contracts.topics import DAY_MS, MAX_BODY_BYTES
from common.errors import Conflict, InvalidRequest
from common.ids import now_ms
from gateway.batches.batch import ASKED_TO_PAUSE, CANCELLABLE, RETRYABLE, Batch, Mode, State, new_batch_id
from gateway.batches.files import INPUT, Draft, Files, StoredFile
from gateway.batches.index import digest
from gateway.batches.lines import Line, lines
from gateway.batches.results import Results, custom_id_in
from gateway.claims import MAX_KEY_CHARACTERS
from gateway.tokens import Caller

Again = Literal["failed", "expired", "cancelled"]
ALL_AGAIN: tuple[Again, ...] = ("failed", "expired", "cancelled")


@dataclass(frozen=True)
class Terms:
    """What a batch is to be. `lifetime_ms`: from its submission to its deadline."""

    file_id: str
    name: str | None = None
    model: str | None = None
    endpoint: str | None = None
    labels: dict[str, str] | None = None
    lifetime_ms: int = DAY_MS
    max_cost: Decimal | None = None
    output_seconds: int | None = None
    mode: Mode = "online"


@dataclass(frozen=True)
class Which:
    """Which rows to run again: those that ended so, or those named."""

    only: tuple[Again, ...] = ALL_AGAIN
    custom_ids: tuple[str, ...] | None = None


class BatchRecords(Protocol):
    """Where batches are kept, as far as their callers go."""

    async def add(self, batch: Batch, asked_hash: bytes, idempotency_key: str | None) -> Batch:
        """Store a new batch and return it, or the workspace's earlier one under this key."""

    async def named(self, workspace_id: UUID, idempotency_key: str, asked_hash: bytes) -> Batch | None:
        """Return the workspace's batch under this key."""

    async def get(self, workspace_id: UUID, batch_id: str) -> Batch:
        """Return the workspace's batch; raise `NotFound`."""

    async def change(self, workspace_id: UUID, batch_id: str, states: tuple[State, ...], **values: Any) -> Batch:
        """Change a batch that is in one of these states and return it; raise `NotFound`, or `Conflict` in another."""

    async def resume(self, workspace_id: UUID, batch_id: str) -> Batch:
        """Resume a paused batch; raise `NotFound`, or `Conflict` where it is not paused."""


class FileShelf(Protocol):
    """Where files' metadata is kept."""

    async def get(self, workspace_id: UUID, file_id: str, now: int) -> StoredFile:
        """Return the workspace's file; raise `NotFound`, also for one that has expired by `now` (UTC ms)."""


class Batches:
    """Submits batches and changes what becomes of them; whoever owns one does the rest."""

    def __init__(
        self, records: BatchRecords, shelf: FileShelf, files: Files, results: Results, wake: Callable[[], None]
    ) -> None:
        self._records = records
        self._shelf = shelf
        self._files = files
        self._results = results
        self._wake = wake

    async def submit(self, caller: Caller, terms: Terms, key: str | None) -> tuple[Batch, bool]:
        """Return the batch, and whether it existed: the same terms under the same key are the same batch."""
        asked = hashed({name: value for name, value in vars(terms).items() if (name, value) != ("mode", "online")})
        if (earlier := await self._earlier(caller, key, asked)) is not None:
            return earlier, True
        file = await self._shelf.get(caller.workspace_id, terms.file_id, now_ms())
        if file.purpose != INPUT:
            raise InvalidRequest(f"fileId: {file.id} has the purpose '{file.purpose}', not '{INPUT}'", param="file_id")
        return await self._added(_batch(caller, terms), asked, key)

    async def cancel(self, workspace_id: UUID, batch_id: str) -> Batch:
        """Stop a batch: nothing more is fed, and what was not called ends as cancelled; calls under way finish."""
        cancelling: dict[str, Any] = {"state": "cancelling", "cancelling_at": now_ms()}
        return await self._records.change(workspace_id, batch_id, CANCELLABLE, **cancelling)

    async def pause(self, workspace_id: UUID, batch_id: str) -> Batch:
        """Feed nothing more until it is resumed; what was fed goes on."""
        paused: dict[str, Any] = {"state": "paused", "paused_reason": ASKED_TO_PAUSE}
        return await self._records.change(workspace_id, batch_id, ("in_progress",), **paused)

    async def resume(self, workspace_id: UUID, batch_id: str) -> Batch:
        """Feed on."""
        return await self._records.resume(workspace_id, batch_id)

    async def retry(
        self, caller: Caller, batch_id: str, which: Which, changes: dict[str, Any], key: str | None
    ) -> tuple[Batch, bool]:
        """Return a new batch of the rows that did not succeed, or were named; and whether it existed."""
        asked = hashed({"retry_of": batch_id, **vars(which), **changes})
        if (earlier := await self._earlier(caller, key, asked)) is not None:
            return earlier, True
        old = await self._records.get(caller.workspace_id, batch_id)
        if old.state not in RETRYABLE:
            raise Conflict(f"the batch is {old.state}: its rows can be run again once it has ended")
        wanted = await self._wanted(old, which)
        file = await self._chosen(old, wanted)
        lifetime_ms = old.deadline - old.created_at
        terms = Terms(file.id, old.name, old.model, old.endpoint, old.labels, lifetime_ms, mode=old.mode)
        return await self._added(replace(_batch(caller, terms), retry_of=old.id, **changes), asked, key)

    async def _earlier(self, caller: Caller, key: str | None, asked: bytes) -> Batch | None:
        if key is None:
            return None
        if not 0 < len(key) <= MAX_KEY_CHARACTERS:
            raise InvalidRequest(f"Idempotency-Key: it must have 1 to {MAX_KEY_CHARACTERS} characters")
        return await self._records.named(caller.workspace_id, key, asked)

    async def _added(self, batch: Batch, asked: bytes, key: str | None) -> tuple[Batch, bool]:
        added = await self._records.add(batch, asked, key)
        self._wake()
        return added, added.id != batch.id

    async def _wanted(self, old: Batch, which: Which) -> set[int]:
        if which.custom_ids is not None:
            return {digest(custom_id) for custom_id in which.custom_ids}
        results = self._results.stream(old, texts=False)
        return {digest(result.custom_id) async for result in results if result.status in which.only}

    async def _chosen(self, old: Batch, wanted: set[int]) -> StoredFile:
        """Write the lines of these rows into a file of their own."""
        async with self._files.writing(old.workspace_id, f"{old.id}_retry.jsonl", INPUT) as draft:
            await copy(lines(self._files.read(old.file_id), MAX_BODY_BYTES), wanted, draft)
            if not draft.file.bytes:
                raise Conflict("no row of the batch is meant: nothing to run again")
        return draft.file


async def copy(source: AsyncIterator[Line], wanted: set[int], draft: Draft) -> None:
    """Write the lines with these custom ids, as they are."""
    async for line in source:
        custom_id = custom_id_in(line.content)
        if line.content is not None and custom_id is not None and digest(custom_id) in wanted:
            await draft.write(line.content + b"\n")


def hashed(asked: dict[str, Any]) -> bytes:
    """Return what is the same for the same request."""
    return hashlib.sha256(orjson.dumps(asked, default=_text, option=orjson.OPT_SORT_KEYS)).digest()


def _text(value: object) -> Any:
    return list(value) if isinstance(value, Iterable) else str(value)


def _batch(caller: Caller, terms: Terms) -> Batch:
    now = now_ms()
    return Batch(
        id=new_batch_id(),
        workspace_id=caller.workspace_id,
        user=caller.name,
        file_id=terms.file_id,
        created_at=now,
        deadline=now + terms.lifetime_ms,
        name=terms.name,
        endpoint=terms.endpoint,
        model=terms.model,
        labels=terms.labels or {},
        max_cost=terms.max_cost,
        output_seconds=terms.output_seconds,
        mode=terms.mode,
    )
