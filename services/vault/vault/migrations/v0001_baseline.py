"""The first tables."""

from alembic import op
from sqlalchemy import inspect

revision = "0001"
down_revision = None
oldest_served = "0001"


def upgrade() -> None:
    """Create them, unless a build from before there were migrations has."""
    if not inspect(op.get_bind()).has_table("keks"):
        for statement in STATEMENTS:
            op.execute(statement)


STATEMENTS = (
    """
    CREATE TABLE keks (
        version integer PRIMARY KEY,
        kind text NOT NULL,
        state text NOT NULL,
        reference text NOT NULL,
        "check" bytea NOT NULL,
        created_at bigint NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX keks_primary ON keks (state) WHERE state = 'primary'",
    """
    CREATE TABLE keys (
        id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        provider text NOT NULL,
        name text NOT NULL,
        latest_version integer NOT NULL,
        active_version integer,
        revision bigint NOT NULL,
        created_at bigint NOT NULL,
        deactivated_at bigint
    )
    """,
    "CREATE UNIQUE INDEX keys_live_name ON keys (workspace_id, provider, name) WHERE deactivated_at IS NULL",
    "CREATE INDEX keys_newest ON keys (workspace_id, id)",
    """
    CREATE TABLE key_versions (
        key_id uuid NOT NULL REFERENCES keys (id),
        version integer NOT NULL,
        sealed bytea,
        kek_version integer GENERATED ALWAYS AS (get_byte(sealed, 1) * 256 + get_byte(sealed, 2)) STORED,
        preview text NOT NULL,
        verified boolean NOT NULL,
        created_at bigint NOT NULL,
        activated_at bigint,
        retired_at bigint,
        expires_at bigint,
        PRIMARY KEY (key_id, version)
    )
    """,
    "CREATE INDEX key_versions_pending ON key_versions (created_at) WHERE activated_at IS NULL",
    "CREATE INDEX key_versions_kek ON key_versions (kek_version)",
    """
    CREATE TABLE revoked_grants (
        grant_id uuid PRIMARY KEY,
        workspace_id uuid NOT NULL,
        revoked_at bigint NOT NULL
    )
    """,
    """
    CREATE TABLE audit (
        chain uuid GENERATED ALWAYS AS (coalesce(workspace_id, '00000000-0000-0000-0000-000000000000'::uuid)) STORED,
        seq bigint NOT NULL,
        previous bytea NOT NULL,
        mac bytea NOT NULL,
        at bigint NOT NULL,
        action text NOT NULL,
        outcome text NOT NULL,
        actor text NOT NULL,
        workspace_id uuid,
        provider text,
        key_id uuid,
        version integer,
        grant_id uuid,
        operation text,
        PRIMARY KEY (chain, seq)
    )
    """,
    """
    CREATE TABLE audit_heads (
        chain uuid PRIMARY KEY,
        seq bigint NOT NULL,
        mac bytea NOT NULL,
        at bigint NOT NULL
    )
    """,
)
