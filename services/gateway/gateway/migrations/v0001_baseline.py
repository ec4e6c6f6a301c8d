"""The first tables."""

from alembic import op
from sqlalchemy import inspect

revision = "0001"
down_revision = None
oldest_served = "0001"


def upgrade() -> None:
    """Create them, unless a build from before there were migrations has."""
    if not inspect(op.get_bind()).has_table("workspaces"):
        for statement in STATEMENTS:
            op.execute(statement)


STATEMENTS = (
    """
    CREATE TABLE workspaces (
        id uuid PRIMARY KEY,
        name text NOT NULL UNIQUE,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE tokens (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL REFERENCES workspaces (id),
        name text NOT NULL,
        role text NOT NULL,
        operator boolean NOT NULL,
        digest bytea NOT NULL UNIQUE,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        revoked_at timestamptz
    )
    """,
    """
    CREATE TABLE grants (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL REFERENCES workspaces (id),
        name text NOT NULL,
        providers text[] NOT NULL,
        created_by text NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX ix_grants_workspace_id ON grants (workspace_id)",
    """
    CREATE TABLE denials (
        id uuid PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now(),
        code text NOT NULL,
        reason text NOT NULL,
        caller text NOT NULL,
        address text NOT NULL,
        method text NOT NULL,
        path text NOT NULL
    )
    """,
    "CREATE INDEX ix_denials_at ON denials (at)",
    """
    CREATE TABLE idempotency_keys (
        run_id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL REFERENCES workspaces (id),
        key text NOT NULL,
        body_hash bytea NOT NULL,
        accepted_at bigint NOT NULL,
        tried_at bigint NOT NULL,
        published boolean NOT NULL,
        UNIQUE (workspace_id, key)
    )
    """,
    "CREATE INDEX ix_idempotency_keys_tried_at ON idempotency_keys (tried_at)",
    """
    CREATE TABLE run_replays (
        subject uuid PRIMARY KEY,
        below bigint NOT NULL,
        accepted_at bigint NOT NULL,
        published boolean NOT NULL
    )
    """,
    """
    CREATE TABLE files (
        id text PRIMARY KEY,
        workspace_id uuid NOT NULL REFERENCES workspaces (id),
        filename text NOT NULL,
        purpose text NOT NULL,
        bytes bigint,
        created_at bigint NOT NULL,
        expires_at bigint
    )
    """,
    "CREATE INDEX files_listed ON files (workspace_id, created_at, id)",
    "CREATE INDEX ix_files_expires_at ON files (expires_at)",
    """
    CREATE TABLE batches (
        id text PRIMARY KEY,
        workspace_id uuid NOT NULL REFERENCES workspaces (id),
        "user" text NOT NULL,
        name text,
        endpoint text,
        file_id text NOT NULL,
        model text,
        labels jsonb NOT NULL,
        deadline bigint NOT NULL,
        max_cost numeric,
        retry_of text,
        output_seconds bigint,
        idempotency_key text,
        asked_hash bytea NOT NULL,
        state text NOT NULL,
        paused_reason text,
        paused_for text,
        created_at bigint NOT NULL,
        started_at bigint,
        cancelling_at bigint,
        finalizing_at bigint,
        ended_at bigint,
        models jsonb NOT NULL,
        errors jsonb NOT NULL,
        progress jsonb NOT NULL,
        quoted_low numeric,
        quoted_high numeric,
        quoted_unpriced bigint,
        output_file_id text,
        error_file_id text,
        owner text,
        lease_until bigint NOT NULL
    )
    """,
    "CREATE INDEX batches_listed ON batches (workspace_id, created_at, id)",
    "CREATE UNIQUE INDEX batches_named ON batches (workspace_id, idempotency_key)",
    "CREATE INDEX batches_open ON batches (lease_until) WHERE ended_at IS NULL",
)
