"""The tables of workspaces and their limits, tokens, grants, denials, named runs, replays, files and batches."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, Numeric, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import BigInteger, DateTime, Text

from common.ids import new_id
from gateway.batches.batch import Mode, RunsAs, State
from gateway.tokens import Role


class Base(DeclarativeBase):
    """Every table of the gateway."""

    type_annotation_map = {datetime: DateTime(timezone=True), str: Text, bytes: LargeBinary}


class Workspace(Base):
    """A tenant: everything belongs to exactly one."""

    __tablename__ = "workspaces"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Token(Base):
    """An access token, by its SHA-256."""

    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey(Workspace.id))
    name: Mapped[str]
    role: Mapped[Role] = mapped_column(Text)
    operator: Mapped[bool] = mapped_column(default=False)
    digest: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class GrantRow(Base):
    """A grant that an admin issued to an internal service (see `ServiceGrant`)."""

    __tablename__ = "grants"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey(Workspace.id), index=True)
    name: Mapped[str]
    providers: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class DenialRow(Base):
    """A request that was refused for who sent it (see `common.http.Denial`)."""

    __tablename__ = "denials"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    code: Mapped[str]
    reason: Mapped[str]
    caller: Mapped[str]
    address: Mapped[str]
    method: Mapped[str]
    path: Mapped[str]


class IdempotencyKey(Base):
    """A key in use, and the run it names (see `Claim`)."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (UniqueConstraint("workspace_id", "key"),)

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey(Workspace.id))
    key: Mapped[str]
    body_hash: Mapped[bytes]
    accepted_at: Mapped[int] = mapped_column(BigInteger)
    tried_at: Mapped[int] = mapped_column(BigInteger, index=True)
    published: Mapped[bool] = mapped_column(default=False)


class WorkspaceLimitsRow(Base):
    """What the operator lets a workspace use (see `Limits`); NULL: as the settings say."""

    __tablename__ = "workspace_limits"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey(Workspace.id), primary_key=True)
    runs_per_second: Mapped[float | None]
    burst_runs: Mapped[int | None] = mapped_column(BigInteger)
    waiting_runs: Mapped[int | None] = mapped_column(BigInteger)
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    body_bytes: Mapped[int | None] = mapped_column(BigInteger)


class RunBucket(Base):
    """How many runs a workspace may have accepted now: it fills at its rate since `filled_at`, up to its burst."""

    __tablename__ = "run_buckets"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey(Workspace.id), primary_key=True)
    runs: Mapped[float]
    granted: Mapped[int] = mapped_column(BigInteger)
    filled_at: Mapped[datetime]


class RunReplay(Base):
    """The last replay of a rejected run, or rejected execution (see `ReplayClaim`), as long as its record is kept."""

    __tablename__ = "run_replays"

    subject: Mapped[UUID] = mapped_column(primary_key=True)
    below: Mapped[int] = mapped_column(BigInteger)
    accepted_at: Mapped[int] = mapped_column(BigInteger)
    published: Mapped[bool] = mapped_column(default=False)


class FileRow(Base):
    """A file's metadata (see `StoredFile`). Without `bytes` it is being uploaded, and invisible."""

    __tablename__ = "files"
    __table_args__ = (Index("files_listed", "workspace_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey(Workspace.id))
    filename: Mapped[str]
    purpose: Mapped[str]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int | None] = mapped_column(BigInteger, index=True)


class BatchRow(Base):
    """A batch as it stands (see `Batch`), and which replica owns it until when, by the database's clock."""

    __tablename__ = "batches"
    __table_args__ = (
        Index("batches_listed", "workspace_id", "created_at", "id"),
        Index("batches_named", "workspace_id", "idempotency_key", unique=True),
        Index("batches_open", "lease_until", postgresql_where="ended_at IS NULL"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey(Workspace.id))
    user: Mapped[str]
    name: Mapped[str | None]
    endpoint: Mapped[str | None]
    file_id: Mapped[str]
    model: Mapped[str | None]
    labels: Mapped[dict[str, Any]] = mapped_column(JSONB)
    deadline: Mapped[int] = mapped_column(BigInteger)
    max_cost: Mapped[Decimal | None] = mapped_column(Numeric)
    retry_of: Mapped[str | None]
    output_seconds: Mapped[int | None] = mapped_column(BigInteger)
    idempotency_key: Mapped[str | None]
    asked_hash: Mapped[bytes]
    state: Mapped[State] = mapped_column(Text)
    paused_reason: Mapped[str | None]
    paused_for: Mapped[str | None]
    created_at: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[int | None] = mapped_column(BigInteger)
    cancelling_at: Mapped[int | None] = mapped_column(BigInteger)
    finalizing_at: Mapped[int | None] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    models: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    errors: Mapped[list[Any]] = mapped_column(JSONB, default=list)
    progress: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    quoted_low: Mapped[Decimal | None] = mapped_column(Numeric)
    quoted_high: Mapped[Decimal | None] = mapped_column(Numeric)
    quoted_unpriced: Mapped[int | None] = mapped_column(BigInteger)
    output_file_id: Mapped[str | None]
    error_file_id: Mapped[str | None]
    mode: Mapped[Mode] = mapped_column(Text, server_default="online")
    runs_as: Mapped[RunsAs | None] = mapped_column(Text)
    runs_as_why: Mapped[str | None]
    parts: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")
    owner: Mapped[str | None]
    lease_until: Mapped[int] = mapped_column(BigInteger, default=0)
