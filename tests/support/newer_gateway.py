"""A gateway of the next version: the same code with one more migration, which adds a column and an index.

`python -m tests.support.newer_gateway FOLDER`; the folder is where its migrations are put together.
"""

import shutil
import sys
from pathlib import Path

import gateway.store
from common.schema import Schema
from gateway.__main__ import main
from gateway.store.schema import SCHEMA

EXPANDS = '''"""A column more."""

from alembic import op

revision = "{revision}"
down_revision = "{before}"
oldest_served = "0001"


def upgrade() -> None:
    """Add it, with a default that the version before leaves to the database."""
    op.execute("ALTER TABLE idempotency_keys ADD COLUMN source text NOT NULL DEFAULT 'http'")
    op.execute("CREATE INDEX idempotency_keys_source ON idempotency_keys (source)")
'''


def newer(folder: Path) -> Schema:
    """Return the schema of the next version."""
    if not folder.exists():
        shutil.copytree(SCHEMA.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
        revision = f"{int(SCHEMA.head) + 1:04}"
        (folder / f"v{revision}_source.py").write_text(EXPANDS.format(revision=revision, before=SCHEMA.head))
    return Schema("gateway", folder)


if __name__ == "__main__":
    gateway.store.SCHEMA = newer(Path(sys.argv[1]))
    main()
