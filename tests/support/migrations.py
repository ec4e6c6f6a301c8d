"""What migrations must keep to, and what a Postgres database is made of, so that two ways to it can be compared."""

import importlib.util
from pathlib import Path
from types import ModuleType

import asyncpg

from common.schema import Schema

COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated::text,
       pg_get_expr(d.adbin, d.adrelid)
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
"""
INDEXES = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'"
CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
"""


async def catalogue(url: str, *, without: str) -> set[tuple[object, ...]]:
    """Return every column, index and constraint of the SQLAlchemy URL's database, but for those of one table."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        found = [row for query in (COLUMNS, INDEXES, CONSTRAINTS) for row in await connection.fetch(query)]
        return {tuple(row) for row in found if row[0] != without}
    finally:
        await connection.close()


def check_rules(schema: Schema) -> None:
    """Assert that migrations are numbered without gaps, go forward only, and say whom they still serve."""
    steps = [_loaded(path) for path in sorted(schema.folder.glob("v*.py"))]
    numbers = [f"{number:04}" for number in range(1, len(steps) + 1)]
    assert [step.revision for step in steps] == numbers
    assert [step.down_revision for step in steps] == [None, *numbers[:-1]]
    served = [step.oldest_served for step in steps]
    assert served == sorted(served), "a migration cannot serve code that one before it did not"
    assert all(oldest <= number for oldest, number in zip(served, numbers, strict=True))
    assert not any(hasattr(step, "downgrade") for step in steps)
    assert schema.head == numbers[-1]


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
