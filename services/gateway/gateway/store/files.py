"""The table of files."""

from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sqlalchemy import Exists, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from common.errors import Conflict, NotFound
from gateway.batches.files import StoredFile
from gateway.quota.quota import storage_exceeded
from gateway.store.sessions import session_on
from gateway.store.tables import BatchRow, FileRow

LISTED = FileRow.created_at, FileRow.id


class FileTable:
    """What is known of files; their contents lie elsewhere."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def reserve(self, file: StoredFile) -> None:
        """Note that this file is about to be written: nobody sees it, and it ends at its `expires_at`."""
        async with self._session() as session:
            session.add(FileRow(**{**vars(file), "bytes": None}))

    async def complete(self, file: StoredFile, most_stored: int | None) -> None:
        """Make the file that was reserved visible, as it is now.

        Raises `StorageExceeded` where its workspace would keep more bytes; uploads that end together take turns.
        """
        async with self._session() as session:
            if most_stored is not None:
                await session.execute(select(func.pg_advisory_xact_lock(func.hashtext(str(file.workspace_id)))))
                if await _stored(session, file.workspace_id) + file.bytes > most_stored:
                    raise storage_exceeded(most_stored)
            await session.execute(update(FileRow).where(FileRow.id == file.id).values(vars(file)))

    async def stored(self, workspace_id: UUID) -> int:
        """Return how many bytes the workspace keeps."""
        async with self._session() as session:
            return await _stored(session, workspace_id)

    async def get(self, workspace_id: UUID, file_id: str, now: int) -> StoredFile:
        """Return the workspace's file; raise `NotFound`, also for one that has expired by `now` (UTC ms)."""
        async with self._session() as session:
            row = await session.scalar(select(FileRow).where(FileRow.id == file_id, *_visible(workspace_id, now)))
        if row is None:
            raise NotFound(f"no such file: {file_id}")
        return _file(row)

    async def input_of(self, workspace_id: UUID, file_id: str) -> StoredFile:
        """Return the input of a batch, which does not expire before its end; raise `NotFound`."""
        return await self.get(workspace_id, file_id, now=0)

    async def page(
        self, workspace_id: UUID, now: int, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> list[StoredFile]:
        """Return the workspace's files in order of creation, beginning behind the one called `after`."""
        found = select(FileRow).where(*_visible(workspace_id, now)).limit(limit)
        if purpose is not None:
            found = found.where(FileRow.purpose == purpose)
        if after is not None:
            last = await self.get(workspace_id, after, now)
            place = tuple_(*LISTED), (last.created_at, last.id)
            found = found.where(place[0] < place[1] if newest_first else place[0] > place[1])
        order = [column.desc() if newest_first else column.asc() for column in LISTED]
        async with self._session() as session:
            return [_file(row) for row in await session.scalars(found.order_by(*order))]

    async def end(self, workspace_id: UUID, file_id: str, now: int) -> None:
        """Let the file expire now; raise `NotFound`, or `Conflict` while a batch reads it."""
        mine = FileRow.id == file_id, *_visible(workspace_id, now)
        async with self._session() as session:
            if await session.scalar(select(FileRow.id).where(FileRow.id == file_id, _in_use())):
                raise Conflict(f"a batch still reads {file_id}: cancel it, or wait for its end")
            ended = await session.scalar(update(FileRow).where(*mine).values(expires_at=now).returning(FileRow.id))
        if ended is None:
            raise NotFound(f"no such file: {file_id}")

    async def expired(self, now: int, limit: int) -> list[str]:
        """Return the ids of files whose time is over and that no batch reads."""
        over = select(FileRow.id).where(FileRow.expires_at <= now, ~_in_use()).limit(limit)
        async with self._session() as session:
            return list(await session.scalars(over))

    async def forget(self, file_id: str) -> None:
        """Remove the record of a file whose content is gone."""
        async with self._session() as session:
            await session.execute(delete(FileRow).where(FileRow.id == file_id))

    def _session(self) -> AbstractAsyncContextManager[AsyncSession]:
        return session_on(self._engine)


def _visible(workspace_id: UUID, now: int) -> tuple:  # type: ignore[type-arg] # SQLAlchemy's expressions
    lives = or_(FileRow.expires_at.is_(None), FileRow.expires_at > now)
    return FileRow.workspace_id == workspace_id, FileRow.bytes.is_not(None), lives


async def _stored(session: AsyncSession, workspace_id: UUID) -> int:
    """Sum up what the workspace keeps: what has expired too, until it is removed."""
    kept = await session.scalar(select(func.sum(FileRow.bytes)).where(FileRow.workspace_id == workspace_id))
    return int(kept or 0)


def _in_use() -> Exists:
    return exists().where(BatchRow.file_id == FileRow.id, BatchRow.ended_at.is_(None))


def _file(row: FileRow) -> StoredFile:
    return StoredFile(
        id=row.id,
        workspace_id=row.workspace_id,
        filename=row.filename,
        purpose=row.purpose,
        bytes=row.bytes or 0,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
