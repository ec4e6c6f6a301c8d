"""The table of batches: what callers asked for, and who owns which of them."""

from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, cast, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from common.errors import Conflict, IdempotencyConflict, NotFound
from gateway.batches.batch import Batch, Claimed, LineError, State, change_of, progress_of
from gateway.store.sessions import session_on
from gateway.store.tables import BatchRow

NOW = cast(func.extract("epoch", func.clock_timestamp()) * 1000, BigInteger)
"""UTC ms by the database's clock, which is the one clock of all leases."""

LISTED = BatchRow.created_at, BatchRow.id
COLUMNS = [name for name in Batch.__dataclass_fields__ if name not in ("errors", "progress")]


class BatchTable:
    """What is known of batches. Whoever does not own one changes its state alone, and only from a state it names."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, batch: Batch, asked_hash: bytes, idempotency_key: str | None) -> Batch:
        """Store a new batch and return it, or the workspace's earlier one under this key.

        Raises `IdempotencyConflict` where that one was asked for otherwise.
        """
        values = {**_columns(batch), "asked_hash": asked_hash, "idempotency_key": idempotency_key}
        fresh = insert(BatchRow).values(**values).on_conflict_do_nothing().returning(BatchRow)
        async with self._session() as session:
            if (row := await session.scalar(fresh)) is not None:
                return _batch(row)
        earlier = await self.named(batch.workspace_id, idempotency_key or "", asked_hash)
        assert earlier is not None, "batches are never removed"
        return earlier

    async def named(self, workspace_id: UUID, idempotency_key: str, asked_hash: bytes) -> Batch | None:
        """Return the workspace's batch under this key; raise `IdempotencyConflict` if it was asked for otherwise."""
        mine = BatchRow.workspace_id == workspace_id, BatchRow.idempotency_key == idempotency_key
        async with self._session() as session:
            row = await session.scalar(select(BatchRow).where(*mine))
        if row is not None and row.asked_hash != asked_hash:
            raise IdempotencyConflict("this Idempotency-Key was used before, for another batch")
        return None if row is None else _batch(row)

    async def get(self, workspace_id: UUID, batch_id: str) -> Batch:
        """Return the workspace's batch; raise `NotFound`."""
        mine = BatchRow.id == batch_id, BatchRow.workspace_id == workspace_id
        async with self._session() as session:
            row = await session.scalar(select(BatchRow).where(*mine))
        if row is None:
            raise NotFound(f"no such batch: {batch_id}")
        return _batch(row)

    async def page(
        self, workspace_id: UUID, *, state: State | None, labels: dict[str, str], after: str | None, limit: int
    ) -> list[Batch]:
        """Return the workspace's batches, newest first, beginning behind the one called `after`."""
        found = select(BatchRow).where(BatchRow.workspace_id == workspace_id)
        if state is not None:
            found = found.where(BatchRow.state == state)
        if labels:
            found = found.where(BatchRow.labels.contains(labels))
        if after is not None:
            last = await self.get(workspace_id, after)
            found = found.where(tuple_(*LISTED) < (last.created_at, last.id))
        newest = found.order_by(*(column.desc() for column in LISTED)).limit(limit)
        async with self._session() as session:
            return [_batch(row) for row in await session.scalars(newest)]

    async def change(self, workspace_id: UUID, batch_id: str, states: tuple[State, ...], **values: Any) -> Batch:
        """Change a batch that is in one of these states and return it; raise `NotFound`, or `Conflict` in another."""
        mine = BatchRow.id == batch_id, BatchRow.workspace_id == workspace_id
        changed = update(BatchRow).where(*mine, BatchRow.state.in_(states)).values(values).returning(BatchRow)
        async with self._session() as session:
            row = await session.scalar(changed)
        if row is not None:
            return _batch(row)
        state = (await self.get(workspace_id, batch_id)).state
        raise Conflict(f"the batch is {state}: this can be done while it is {' or '.join(states)}")

    async def resume(self, workspace_id: UUID, batch_id: str) -> Batch:
        """Resume a paused batch; raise `NotFound`, or `Conflict` where it is not paused."""
        return await self.change(workspace_id, batch_id, ("paused",), **RESUMED)

    async def resume_all(self, workspace_id: UUID, provider: str) -> None:
        """Resume what was paused for want of a key at this provider."""
        waits = BatchRow.workspace_id == workspace_id, BatchRow.state == "paused", BatchRow.paused_for == provider
        async with self._session() as session:
            await session.execute(update(BatchRow).where(*waits).values(RESUMED))

    async def claim(self, owner: str, lease_ms: int) -> Claimed | None:
        """Own a batch that nobody owns now, and return it."""
        free = select(BatchRow).where(BatchRow.ended_at.is_(None), BatchRow.lease_until < NOW)
        first = free.order_by(BatchRow.lease_until, BatchRow.created_at).limit(1).with_for_update(skip_locked=True)
        async with self._session() as session:
            if (row := await session.scalar(first)) is None:
                return None
            owned_until, row.owner = row.lease_until, owner
            row.lease_until = (await session.scalars(select(NOW + lease_ms))).one()
            return Claimed(_batch(row), row.lease_until, owned_until)

    async def hold(self, batch_id: str, owner: str, lease_ms: int, **values: Any) -> Claimed | None:
        """Renew the lease, change the values, and return the batch; None if it is not this owner's any more."""
        renewed = update(BatchRow).where(*_owned(batch_id, owner)).values(lease_until=NOW + lease_ms, **values)
        async with self._session() as session:
            row = await session.scalar(renewed.returning(BatchRow))
        return None if row is None else Claimed(_batch(row), row.lease_until, 0)

    async def advance(self, batch_id: str, owner: str, states: tuple[State, ...], **values: Any) -> bool:
        """Change an owned batch that is in one of these states; False if it is in another, or not owned any more."""
        mine = *_owned(batch_id, owner), BatchRow.state.in_(states)
        async with self._session() as session:
            changed = await session.scalar(update(BatchRow).where(*mine).values(values).returning(BatchRow.id))
        return changed is not None

    async def release(self, batch_id: str, owner: str) -> None:
        """Let another replica own the batch at once."""
        async with self._session() as session:
            await session.execute(update(BatchRow).where(*_owned(batch_id, owner)).values(lease_until=NOW))

    def _session(self) -> AbstractAsyncContextManager[AsyncSession]:
        return session_on(self._engine)


RESUMED: dict[str, Any] = {"state": "in_progress", "paused_reason": None, "paused_for": None}


def _owned(batch_id: str, owner: str) -> tuple:  # type: ignore[type-arg] # SQLAlchemy's expressions
    return BatchRow.id == batch_id, BatchRow.owner == owner, BatchRow.lease_until >= NOW


def _columns(batch: Batch) -> dict[str, Any]:
    return {
        **{name: getattr(batch, name) for name in COLUMNS},
        "progress": change_of(batch.progress),
        "errors": [vars(error) for error in batch.errors],
    }


def _batch(row: BatchRow) -> Batch:
    return Batch(
        **{name: getattr(row, name) for name in COLUMNS},
        errors=[LineError(**error) for error in row.errors],
        progress=progress_of(row.progress),
    )
