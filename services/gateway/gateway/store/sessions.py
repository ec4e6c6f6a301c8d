"""Sessions on the gateway's database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from common.errors import InvalidRequest, Unavailable

CONNECT_SECONDS = 5
COMMAND_SECONDS = 10
DATA_EXCEPTION = "22"
"""The class of SQLSTATEs that blame the values sent, such as a NUL character in a text."""


def engine_for(url: str) -> AsyncEngine:
    """Return an engine that connects on first use."""
    return create_async_engine(
        url,
        pool_pre_ping=True,
        hide_parameters=True,  # errors are logged
        connect_args={"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS},
    )


@asynccontextmanager
async def session_on(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """Yield a session whose work is committed at the end; raise `Unavailable` while the database is away."""
    try:
        async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
            yield session
    except (IntegrityError, ProgrammingError):
        raise  # the statement's fault
    except (DBAPIError, PoolTimeoutError, OSError) as error:
        if isinstance(error, DBAPIError) and str(getattr(error.orig, "sqlstate", "")).startswith(DATA_EXCEPTION):
            raise InvalidRequest("a field holds a value that cannot be stored, such as a NUL character") from error
        raise Unavailable("the database cannot be reached", retry_after=2) from error
