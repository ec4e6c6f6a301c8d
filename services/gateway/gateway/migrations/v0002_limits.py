"""Limits of workspaces."""

from alembic import op

revision = "0002"
down_revision = "0001"
oldest_served = "0001"


def upgrade() -> None:
    """Add a table of limits, and one of what is left of them."""
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = (
    """
    CREATE TABLE workspace_limits (
        workspace_id uuid PRIMARY KEY REFERENCES workspaces (id),
        runs_per_second double precision,
        burst_runs bigint,
        waiting_runs bigint,
        stored_bytes bigint,
        body_bytes bigint
    )
    """,
    """
    CREATE TABLE run_buckets (
        workspace_id uuid PRIMARY KEY REFERENCES workspaces (id),
        runs double precision NOT NULL,
        granted bigint NOT NULL,
        filled_at timestamptz NOT NULL
    )
    """,
)
