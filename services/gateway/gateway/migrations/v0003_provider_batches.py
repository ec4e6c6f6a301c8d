"""Batches may run through providers' own batches."""

from alembic import op

revision = "0003"
down_revision = "0002"
oldest_served = "0001"


def upgrade() -> None:
    """Add how a batch is to run, how it does, and the parts that it was split into."""
    op.execute(
        "ALTER TABLE batches ADD COLUMN mode text NOT NULL DEFAULT 'online', ADD COLUMN runs_as text,"
        " ADD COLUMN runs_as_why text, ADD COLUMN parts jsonb NOT NULL DEFAULT '[]'"
    )
