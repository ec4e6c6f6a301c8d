"""The database: replicas start together, and it may be away."""

import asyncio
from uuid import uuid4

import asyncpg
from services.gateway.tests.conftest import Gateway, PlayedRunner, error_of
from sqlalchemy.engine import make_url

from gateway.store import Store
from gateway.tokens import hashed


async def test_replicas_that_start_together_make_one_workspace_and_one_operator(database: str) -> None:
    stores = [Store(database) for _ in range(5)]
    await asyncio.gather(*(store.start(hashed("secret"), migrate=True) for store in stores))
    (workspace,) = await stores[0].workspaces(None)
    (token,) = await stores[0].tokens(workspace.id)
    assert (workspace.name, token.operator, token.digest) == ("default", True, hashed("secret"))
    await asyncio.gather(*(store.close() for store in stores))


async def test_the_database_is_away(gateway: Gateway, runner: PlayedRunner, database: str) -> None:
    assert (await gateway.http.get("/health/ready")).status_code == 200
    assert (await gateway.run()).status_code == 200
    await _set_connections(database, allowed=False)
    try:
        assert (await gateway.run()).status_code == 200  # its token is remembered, and nothing else is needed
        assert error_of(await gateway.http.get("/health/ready")) == (503, "unavailable")
        assert error_of(await gateway.run({"idempotency-key": "k"})) == (503, "unavailable")
        stranger = gateway.calling(uuid4().hex)
        assert error_of(await gateway.run(stranger)) == (503, "unavailable")
    finally:
        await _set_connections(database, allowed=True)
    assert (await gateway.http.get("/health/ready")).status_code == 200


async def _set_connections(database: str, *, allowed: bool) -> None:
    """Let clients into the database, or shut them out and end those that are in."""
    url = make_url(database)
    connection = await asyncpg.connect(host=str(url.query["host"]), user="postgres", database="postgres")
    await connection.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS {allowed}')
    if not allowed:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", url.database
        )
    await connection.close()
