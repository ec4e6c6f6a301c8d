"""Files: what callers upload and what batches write, each visible to its workspace once it is whole."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from common.contracts.topics import DAY_MS
from common.errors import TallyrunError, TooLarge
from common.ids import new_id, now_ms
from common.objects import Objects, Writer
from gateway.quota.quota import storage_exceeded

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 200 * 1024 * 1024
"""As OpenAI's batches have it: https://platform.openai.com/docs/guides/batch"""

INPUT = "batch"
"""The purpose of what callers bring; what batches write is `batch_output`."""

JOINED_BYTES = 256 * 1024

WRITING_MS = DAY_MS
"""What was begun so long ago and is not whole is left over from a crash, and removed."""

SWEEP_SECONDS = 60
SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class StoredFile:
    """A file's metadata; times are UTC ms. `purpose` is `batch` or `batch_output`."""

    id: str
    workspace_id: UUID
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None = None


class FileRecords(Protocol):
    """Where metadata is kept."""

    async def reserve(self, file: StoredFile) -> None:
        """Note that this file is about to be written: nobody sees it, and it ends at its `expires_at`."""

    async def complete(self, file: StoredFile, most_stored: int | None) -> None:
        """Make the file that was reserved visible, as it is now; raise `StorageExceeded` where that is too much."""

    async def stored(self, workspace_id: UUID) -> int:
        """Return how many bytes the workspace keeps."""

    async def end(self, workspace_id: UUID, file_id: str, now: int) -> None:
        """Let the file expire now; raise `NotFound`, or `Conflict` while a batch reads it."""

    async def expired(self, now: int, limit: int) -> list[str]:
        """Return the ids of files whose time is over and that no batch reads."""

    async def forget(self, file_id: str) -> None:
        """Remove the record of a file whose content is gone."""


class Storage(Protocol):
    """Who knows what workspaces may keep."""

    async def stored_bytes(self, workspace_id: UUID) -> int | None:
        """Return how many bytes of files the workspace may keep; None: any number."""


@dataclass(frozen=True)
class Room:
    """What a workspace may keep, and what it keeps already. What batches write counts, and is never refused."""

    most: int | None = None
    kept: int = 0

    def check(self, size: int) -> None:
        """Raise `StorageExceeded` where a file of this size does not fit."""
        if self.most is not None and self.kept + size > self.most:
            raise storage_exceeded(self.most)


class Draft:
    """A file that is being written. What is known of it can change until it is whole."""

    def __init__(self, file: StoredFile, writer: Writer, limit: int | None, room: Room) -> None:
        self.file = file
        self._writer = writer
        self._limit = limit
        self._room = room
        self._waiting = bytearray()

    async def write(self, piece: bytes) -> None:
        """Append; raise `TooLarge`, or `StorageExceeded`."""
        size = self.file.bytes + len(piece)
        if self._limit is not None and size > self._limit:
            raise TooLarge(f"the file is over the limit of {self._limit} bytes")
        self._room.check(size)
        self.know(bytes=size)
        self._waiting += piece
        if len(self._waiting) >= JOINED_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Hand over what has gathered: the object store takes 0.15 ms for each piece, however small."""
        if self._waiting:
            await self._writer.write(bytes(self._waiting))
            self._waiting.clear()

    def know(self, **fields: object) -> None:
        """Change what is known of the file."""
        self.file = replace(self.file, **fields)  # type: ignore[arg-type]


class Files:
    """Writes, reads and removes files."""

    def __init__(self, records: FileRecords, objects: Objects, storage: Storage) -> None:
        self._records = records
        self._objects = objects
        self._storage = storage

    @asynccontextmanager
    async def writing(
        self,
        workspace_id: UUID,
        filename: str,
        purpose: str,
        *,
        limit: int | None = None,
        expires_at: int | None = None,
    ) -> AsyncIterator[Draft]:
        """Yield a draft that is a visible file from the end of the block on; if that raises, nothing is left."""
        room = await self._room(workspace_id) if purpose == INPUT else Room()
        room.check(1)
        now = now_ms()
        file = StoredFile(f"file-{new_id().hex}", workspace_id, filename, purpose, 0, now, now + WRITING_MS)
        await self._records.reserve(file)
        try:
            async with self._objects.writing(file.id) as writer:
                draft = Draft(replace(file, expires_at=expires_at), writer, limit, room)
                yield draft
                await draft.flush()
            await self._records.complete(draft.file, room.most)
        except BaseException:
            await self._remove(file.id)
            raise

    async def _room(self, workspace_id: UUID) -> Room:
        most = await self._storage.stored_bytes(workspace_id)
        return Room() if most is None else Room(most, await self._records.stored(workspace_id))

    def read(self, file_id: str) -> AsyncIterator[bytes]:
        """Yield a file's content in pieces; raise `NotFound` where it is gone."""
        return self._objects.read(file_id)

    async def lines(self, file_id: str, starts: list[int], ends: list[int]) -> list[bytes]:
        """Return pieces of the content, by their first byte and the one behind their last."""
        return await self._objects.spans(file_id, starts, ends)

    async def delete(self, workspace_id: UUID, file_id: str) -> None:
        """Remove a file; raise `NotFound`, or `Conflict` while a batch reads it."""
        await self._records.end(workspace_id, file_id, now_ms())
        await self._remove(file_id)

    async def sweep(self) -> None:
        """Remove what has expired."""
        for file_id in await self._records.expired(now_ms(), SWEPT_AT_ONCE):
            await self._remove(file_id)

    async def _remove(self, file_id: str) -> None:
        """Remove content and record, in this order: what fails is tried again by the sweep, once it has expired."""
        try:
            await self._objects.delete(file_id)
            await self._records.forget(file_id)
        except TallyrunError as error:
            log.warning("a file waits to be removed: %s", error.message)
