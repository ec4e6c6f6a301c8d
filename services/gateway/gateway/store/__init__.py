"""Postgres: workspaces, tokens, grants, denials, claims on named runs and on replays; files, batches and limits."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from common.errors import Conflict, NotFound
from common.http import Denial
from common.ids import new_id
from gateway.claims import Claim
from gateway.replay import ReplayClaim
from gateway.service_grants import ServiceGrant
from gateway.store.batches import BatchTable
from gateway.store.files import FileTable
from gateway.store.limits import LimitTable
from gateway.store.schema import SCHEMA
from gateway.store.sessions import engine_for, session_on
from gateway.store.tables import Base, DenialRow, GrantRow, IdempotencyKey, RunReplay, Token, Workspace
from gateway.tokens import Caller, Role

__all__ = ["PRUNING_LOCK", "Store", "Token", "Workspace"]

DEFAULT_WORKSPACE = "default"
STARTUP_LOCK = 7_411_0001
"""Any constant: replicas that start together write the operator down one after the other."""

PRUNING_LOCK = 7_411_0002

Row = TypeVar("Row", bound=Base)


class Store:
    """Every statement the gateway makes. Raises `Unavailable` while the database is away."""

    def __init__(self, url: str) -> None:
        self._engine = engine_for(url)
        self.files = FileTable(self._engine)
        self.batches = BatchTable(self._engine)
        self.limits = LimitTable(self._engine)

    async def start(self, operator_digest: bytes, *, migrate: bool) -> None:
        """Make sure of the tables, and make this hash the one operator's token, admin of the default workspace.

        Raises `SchemaMismatch` where the tables are of another version and may not be brought up (`migrate`).
        """
        await SCHEMA.prepare(self._engine.url, migrate=migrate)
        async with self._engine.begin() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({STARTUP_LOCK})"))
            await _register_operator(connection, operator_digest)

    async def close(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    async def ping(self) -> None:
        """Raise `Unavailable` unless the database answers."""
        async with self._session() as session:
            await session.execute(text("SELECT 1"))

    async def token_holder(self, digest: bytes) -> Caller | None:
        """Return who holds the unrevoked token of this hash."""
        async with self._session() as session:
            token = await session.scalar(select(Token).where(Token.digest == digest, Token.revoked_at.is_(None)))
        return None if token is None else _caller(token)

    async def add_token(
        self, workspace_id: UUID, name: str, role: Role, digest: bytes, expires_at: datetime | None
    ) -> Token:
        """Store a token; raise `NotFound` if there is no such workspace."""
        token = Token(workspace_id=workspace_id, name=name, role=role, digest=digest, expires_at=expires_at)
        try:
            return await self._add(token)
        except IntegrityError as error:
            raise NotFound(f"no such workspace: {workspace_id}") from error

    async def tokens(self, workspace_id: UUID) -> Sequence[Token]:
        """Return the workspace's tokens, oldest first; revoked ones too."""
        async with self._session() as session:
            found = await session.scalars(
                select(Token).where(Token.workspace_id == workspace_id).order_by(Token.created_at, Token.id)
            )
            return found.all()

    async def revoke_token(self, token_id: UUID, workspace_id: UUID | None) -> None:
        """Revoke a token of this workspace (None: of any); raise `NotFound`. The operator's lives in its file."""
        statement = update(Token).where(Token.id == token_id, Token.operator.is_(False), Token.revoked_at.is_(None))
        if workspace_id is not None:
            statement = statement.where(Token.workspace_id == workspace_id)
        async with self._session() as session:
            revoked = await session.scalar(statement.values(revoked_at=datetime.now(UTC)).returning(Token.id))
        if revoked is None:
            raise NotFound(f"no such token: {token_id}")

    async def add_grant(self, grant: ServiceGrant) -> None:
        """Store a grant's metadata; raise `NotFound` if there is no such workspace."""
        try:
            await self._add(GrantRow(**{**vars(grant), "providers": list(grant.providers)}))
        except IntegrityError as error:
            raise NotFound(f"no such workspace: {grant.workspace_id}") from error

    async def grants(self, workspace_id: UUID) -> list[ServiceGrant]:
        """Return the workspace's grants, oldest first; those that are over too."""
        mine = select(GrantRow).where(GrantRow.workspace_id == workspace_id).order_by(GrantRow.id)
        async with self._session() as session:
            return [_grant(row) for row in await session.scalars(mine)]

    async def grant(self, grant_id: UUID, workspace_id: UUID | None) -> ServiceGrant:
        """Return the grant of this workspace (None: of any); raise `NotFound`."""
        async with self._session() as session:
            row = await session.get(GrantRow, grant_id)
        if row is None or workspace_id not in (None, row.workspace_id):
            raise NotFound(f"no such grant: {grant_id}")
        return _grant(row)

    async def mark_grant_revoked(self, grant_id: UUID) -> None:
        """Note the time of the revocation; that of the first one stays."""
        mine = GrantRow.id == grant_id, GrantRow.revoked_at.is_(None)
        async with self._session() as session:
            await session.execute(update(GrantRow).where(*mine).values(revoked_at=datetime.now(UTC)))

    async def add_denial(self, denial: Denial) -> None:
        """Write down who was refused what."""
        await self._add(DenialRow(**{name: value.replace("\0", "") for name, value in vars(denial).items()}))

    async def add_workspace(self, name: str) -> Workspace:
        """Create a workspace; raise `Conflict` if the name is taken."""
        try:
            return await self._add(Workspace(name=name))
        except IntegrityError as error:
            raise Conflict(f"there is a workspace '{name}' already") from error

    async def workspaces(self, only: UUID | None) -> Sequence[Workspace]:
        """Return every workspace, or only this one."""
        statement = select(Workspace).order_by(Workspace.created_at, Workspace.id)
        async with self._session() as session:
            return (await session.scalars(statement if only is None else statement.where(Workspace.id == only))).all()

    async def claim(self, claim: Claim, idempotency_key: str) -> Claim | None:
        """Store the claim; return None, or the workspace's earlier claim under this key."""
        fresh = insert(IdempotencyKey).values(**vars(claim), key=idempotency_key).on_conflict_do_nothing()
        same = IdempotencyKey.workspace_id == claim.workspace_id, IdempotencyKey.key == idempotency_key
        async with self._session() as session:
            while True:  # until one of both is there: the earlier one may be pruned in between
                if await session.scalar(fresh.returning(IdempotencyKey.run_id)):
                    return None
                if row := await session.scalar(select(IdempotencyKey).where(*same)):
                    return _claim(row)

    async def claim_of(self, workspace_id: UUID, run_id: UUID) -> Claim | None:
        """Return the claim on this run, if its caller named it."""
        mine = IdempotencyKey.run_id == run_id, IdempotencyKey.workspace_id == workspace_id
        async with self._session() as session:
            row = await session.scalar(select(IdempotencyKey).where(*mine))
        return None if row is None else _claim(row)

    async def claim_again(self, run_id: UUID, tried_at: int) -> None:
        """Note that the run is sent to the broker once more."""
        await self._change_claim(run_id, tried_at=tried_at)

    async def mark_published(self, run_id: UUID) -> None:
        """Note that the broker acknowledged the run."""
        await self._change_claim(run_id, published=True)

    async def _change_claim(self, run_id: UUID, **values: int) -> None:
        async with self._session() as session:
            await session.execute(update(IdempotencyKey).where(IdempotencyKey.run_id == run_id).values(values))

    async def release(self, run_id: UUID) -> None:
        """Forget the claim on a run that was never published: it never was one."""
        unpublished = IdempotencyKey.run_id == run_id, IdempotencyKey.published.is_(False)
        async with self._session() as session:
            await session.execute(delete(IdempotencyKey).where(*unpublished))

    async def prune(self, tried_before: int, limit: int) -> int:
        """Forget at most `limit` claims; return how many: 0 while another replica does it."""
        over = IdempotencyKey.tried_at < tried_before  # asked twice: one that is claimed again meanwhile stays
        oldest = select(IdempotencyKey.run_id).where(over).order_by(IdempotencyKey.tried_at).limit(limit)
        pruned = delete(IdempotencyKey).where(over, IdempotencyKey.run_id.in_(oldest)).returning(IdempotencyKey.run_id)
        async with self._session() as session:
            if not await session.scalar(select(func.pg_try_advisory_xact_lock(PRUNING_LOCK))):
                return 0
            return len((await session.scalars(pruned)).all())

    async def replay_of(self, subject: UUID) -> ReplayClaim | None:
        """Return the last replay of this subject."""
        async with self._session() as session:
            row = await session.get(RunReplay, subject)
        return None if row is None else _replay(row)

    async def claim_replay(self, claim: ReplayClaim, offset: int) -> ReplayClaim:
        """Store the claim and return it, or return the earlier one that this offset of the topic belongs to."""
        statement = insert(RunReplay).values(vars(claim))
        claimed = statement.on_conflict_do_update(
            index_elements=[RunReplay.subject], set_=dict(statement.excluded), where=RunReplay.below <= offset
        )
        async with self._session() as session:
            mine = await session.scalar(claimed.returning(RunReplay.below))
            return claim if mine is not None else _replay(await session.get_one(RunReplay, claim.subject))

    async def forget_replays(self, begin: int) -> None:
        """Forget the claims that settle nothing any more: on records before this offset alone."""
        async with self._session() as session:
            await session.execute(delete(RunReplay).where(RunReplay.below <= begin))

    async def mark_replayed(self, claim: ReplayClaim) -> None:
        """Note that the broker acknowledged the replay."""
        mine = RunReplay.subject == claim.subject, RunReplay.below == claim.below
        async with self._session() as session:
            await session.execute(update(RunReplay).where(*mine).values(published=True))

    async def _add(self, row: Row) -> Row:
        async with self._session() as session:
            session.add(row)
            await session.flush()
            await session.refresh(row)
        return row

    def _session(self) -> AbstractAsyncContextManager[AsyncSession]:
        return session_on(self._engine)


async def _register_operator(connection: AsyncConnection, digest: bytes) -> None:
    """Give the default workspace exactly one operator's token: the file may have been changed."""
    await connection.execute(insert(Workspace).values(id=new_id(), name=DEFAULT_WORKSPACE).on_conflict_do_nothing())
    home = await connection.scalar(select(Workspace.id).where(Workspace.name == DEFAULT_WORKSPACE))
    await connection.execute(update(Token).where(Token.operator, Token.digest != digest).values(revoked_at=func.now()))
    await connection.execute(
        insert(Token)
        .values(id=new_id(), workspace_id=home, name="admin", role="admin", operator=True, digest=digest)
        .on_conflict_do_update(index_elements=[Token.digest], set_={"revoked_at": None})
    )


def _caller(token: Token) -> Caller:
    return Caller(
        token_id=token.id,
        workspace_id=token.workspace_id,
        name=token.name,
        role=token.role,
        operator=token.operator,
        expires_at=token.expires_at,
    )


def _grant(row: GrantRow) -> ServiceGrant:
    return ServiceGrant(
        id=row.id,
        workspace_id=row.workspace_id,
        name=row.name,
        providers=tuple(row.providers),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def _claim(row: IdempotencyKey) -> Claim:
    return Claim(
        run_id=row.run_id,
        workspace_id=row.workspace_id,
        body_hash=row.body_hash,
        accepted_at=row.accepted_at,
        tried_at=row.tried_at,
        published=row.published,
    )


def _replay(row: RunReplay) -> ReplayClaim:
    return ReplayClaim(subject=row.subject, below=row.below, accepted_at=row.accepted_at, published=row.published)
