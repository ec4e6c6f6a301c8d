"""Batches may run through providers' own batches."""

from alembic import op

revision = "0003"
down_revision = "0002"
oldest_served = "0001"


def upgrade() -> None:
    """Add how a batch is to run, how it does, and the parts that it was split into."""
    for column in COLUMNS:
        op.execute(f"ALTER TABLE batches ADD COLUMN {column}")


COLUMNS = (
    "mode text NOT NULL DEFAULT 'online'",
    "runs_as text",
    "runs_as_why text",
    "parts jsonb NOT NULL DEFAULT '[]'",
)
