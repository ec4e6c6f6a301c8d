"""What the domain asks of its database."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class BadDataError(Exception):
    """Rows that the database will never take: sending them again is of no use."""


class Table(NamedTuple):
    """A table and the fields that are read into it; other fields of a row are ignored."""

    name: str
    columns: tuple[str, ...]


class Database(Protocol):
    """Every method raises `Unavailable` while the database cannot answer."""

    async def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return what a named query answers."""

    async def written(self, query: str, fmt: str, **parameters: Any) -> bytes:
        """Return what a named query answers, whole, in one of the engine's formats."""

    async def execute(self, query: str, **parameters: Any) -> None:
        """Run a named query that answers nothing."""

    async def catch_up(self, *tables: str) -> None:
        """Return once whatever was stored of these tables is what the next query reads."""

    async def insert(self, table: Table, lines: Sequence[bytes]) -> None:
        """Return once these rows, each a JSON object, are on disk; raise `BadDataError` if one is refused."""
