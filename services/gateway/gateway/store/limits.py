"""The tables of limits, and of what is left of them."""

from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from uuid import UUID

from sqlalchemy import ColumnElement, Float, cast, extract, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from common.errors import NotFound
from gateway.quota.limits import Limits
from gateway.quota.rate import Taken
from gateway.store.sessions import session_on
from gateway.store.tables import RunBucket, Workspace, WorkspaceLimitsRow

NAMES = tuple(Limits.__dataclass_fields__)
NOW = func.statement_timestamp()
"""By the database's clock, which is the one clock of all replicas, and the same throughout a statement."""


def _there(rate: float, burst: int) -> ColumnElement[float]:
    """Return how many runs are in a bucket now. A statement that waited for one begun later finds it filled already."""
    age = func.greatest(0.0, cast(extract("epoch", NOW - RunBucket.filled_at), Float))
    return func.least(float(burst), RunBucket.runs + rate * age)


class LimitTable:
    """What workspaces may use, and one bucket for each that has a rate."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def limits(self, workspace_id: UUID) -> Limits:
        """Return what the operator set for this workspace; raise `NotFound` where there is no such workspace."""
        known = select(Workspace.id, WorkspaceLimitsRow).outerjoin(WorkspaceLimitsRow)
        async with self._session() as session:
            found = (await session.execute(known.where(Workspace.id == workspace_id))).one_or_none()
        if found is None:
            raise NotFound(f"no such workspace: {workspace_id}")
        row = found[1]
        return Limits() if row is None else Limits(**{name: getattr(row, name) for name in NAMES})

    async def set_limits(self, workspace_id: UUID, limits: Limits) -> None:
        """Set all of a workspace's limits; raise `NotFound` where there is no such workspace."""
        values = asdict(limits)
        statement = insert(WorkspaceLimitsRow).values(workspace_id=workspace_id, **values)
        try:
            async with self._session() as session:
                await session.execute(statement.on_conflict_do_update(index_elements=["workspace_id"], set_=values))
        except IntegrityError as error:
            raise NotFound(f"no such workspace: {workspace_id}") from error

    async def take(self, workspace_id: UUID, rate: float, burst: int, asked: int, kept: float) -> Taken:
        """Take at most `asked` runs out of the bucket, and never of the last `kept`; a new bucket is full."""
        there = _there(rate, burst)
        granted = func.greatest(0.0, func.least(float(asked), func.floor(there - kept)))
        taken = update(RunBucket).where(RunBucket.workspace_id == workspace_id)
        taken = taken.values(runs=there - granted, granted=granted, filled_at=func.greatest(RunBucket.filled_at, NOW))
        full = insert(RunBucket).values(workspace_id=workspace_id, runs=burst, granted=0, filled_at=NOW)
        async with self._session() as session:
            while True:
                if row := (await session.execute(taken.returning(RunBucket.granted, RunBucket.runs))).one_or_none():
                    return Taken(*row)
                await session.execute(full.on_conflict_do_nothing())

    async def left(self, workspace_id: UUID, rate: float, burst: int) -> float:
        """Return how many runs are in the bucket now."""
        async with self._session() as session:
            found = await session.scalar(select(_there(rate, burst)).where(RunBucket.workspace_id == workspace_id))
        return burst if found is None else float(found)

    def _session(self) -> AbstractAsyncContextManager[AsyncSession]:
        return session_on(self._engine)
