"""ClickHouse: a server over HTTP or the engine in this process, through the same synchronous client."""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from analytics import cluster, schema
from analytics.cluster import Cluster
from analytics.database import BadDataError, Table
from analytics.telemetry import QUERIES
from common.errors import Unavailable

log = logging.getLogger(__name__)

THREADS = 8
"""Clients, one for each thread: as many queries run at once. The engine itself uses every core for each of them."""

SETTINGS = {
    # Inserted means on disk, and an equal batch is no duplicate: rows replace themselves by their keys.
    "async_insert": 0,
    "deduplicate_insert": "disable",
    # accepted_at fixes a row's partition, so its versions meet in one: 1.0 s → 0.03 s for 100 live workspaces.
    "do_not_merge_across_partitions_select_final": 1,
    # A batch after a long pause, or of imported history, may span more than 100 partitions.
    "max_partitions_per_insert_block": 0,
    # Consumers ignore fields they do not know.
    "input_format_skip_unknown_fields": 1,
    # A seal names up to 12,000 hours in its text: bound parameters travel in the URL, 128 KiB each at most.
    "max_query_size": 16 * 1024 * 1024,
}

INSERTING = {
    # Inserts run beside each other; one that reads its lines in several threads takes a sixth more CPU in all.
    "input_format_parallel_parsing": 0,
    # Rows that replace each other meet when parts are merged and under FINAL anyway, and seldom within one insert.
    "optimize_on_insert": 0,
}

OVER_HTTP: dict[str, Any] = {
    # Every request is whole in itself: replicas behind one address share no sessions, and one that was given up here
    # and still runs there locks none.
    "autogenerate_session_id": False,
    # Seconds. A server that froze is noticed, and asked again.
    "connect_timeout": 5,
    "send_receive_timeout": 60,
}

_BAD_DATA = (
    "CANNOT_PARSE",
    "CANNOT_READ",
    "CANNOT_CONVERT",
    "CANNOT_INSERT_NULL",
    "INCORRECT_DATA",
    "DECIMAL_OVERFLOW",
)
_BAD_VALUES = ("ARGUMENT_OUT_OF_BOUND", "UNKNOWN_ELEMENT_OF_ENUM", "TYPE_MISMATCH", "VIOLATED_CONSTRAINT")
"""Names of the engine's errors that are the rows' own fault. Whatever is not known to be is waited out."""

T = TypeVar("T")

_timed = cache(QUERIES.labels)


class ClickHouse:
    """Runs the queries of `queries/*.sql`, each in a thread with a client of its own."""

    def __init__(self, dsn: str, database: str, in_cluster: str | None = None) -> None:
        self._dsn = dsn
        self._database = database
        self._cluster = Cluster(in_cluster, database) if in_cluster else None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="clickhouse")
        self._local = threading.local()
        self._clients: list[Client] = []

    async def migrate(self) -> list[str]:
        """Create the database, apply the migrations that it lacks in the order of their numbers, and return these."""
        return await self._run(lambda: schema.bring_up(self._whole_database()))

    async def prepare(self, *, migrate: bool) -> None:
        """Make sure of the tables; raise `SchemaMismatch` where they may not be brought up (`migrate`) and must be."""
        if migrate:
            await self.migrate()
        else:
            await self._run(lambda: schema.check(self._whole_database()))

    async def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return what the query answers."""
        with _timed(query).time():
            return await self._run(lambda: list(self._client.query(_sql(query), parameters).named_results()))

    async def written(self, query: str, fmt: str, **parameters: Any) -> bytes:
        """Return what the query answers, whole, as the engine writes it in this format."""
        return await self._run(lambda: self._client.raw_query(_sql(query), parameters, fmt=fmt))

    async def execute(self, query: str, **parameters: Any) -> None:
        """Run a query that answers nothing, or several."""
        with _timed(query).time():
            await self._run(lambda: self._commands(_sql(query), parameters))

    async def catch_up(self, *tables: str) -> None:
        """Return once every replica has what was acknowledged of these tables; without replicas there is nothing to do.

        An insert is acknowledged by most replicas, and the next query may ask another one.
        """
        for statement in self._cluster.catching_up(tables) if self._cluster else ():
            await self._run(lambda statement=statement: self._client.command(statement))  # type: ignore[misc]

    async def insert(self, table: Table, lines: Sequence[bytes]) -> None:
        """Return once these rows, each a JSON object, are on disk; raise `BadDataError` if one is refused."""
        try:
            await self._in_thread(lambda: self._insert(table, b"\n".join(lines)))
        except ClickHouseError as error:
            raise _refusal(error) from None  # the kind alone: the engine's text quotes rows, which hold prompts

    async def close(self) -> None:
        """Let what runs finish, then disconnect."""
        await asyncio.to_thread(self._threads.shutdown)
        for client in self._clients:
            client.close()

    def _insert(self, table: Table, rows: bytes) -> None:
        self._client.raw_insert(table.name, table.columns, rows, settings=INSERTING, fmt="JSONEachRow")

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self._in_thread(work)
        except ClickHouseError as error:
            log.warning("a query failed", exc_info=error)
            raise Unavailable("the analytics database cannot answer now", retry_after=5) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @property
    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = self._connect(self._database)
        return client

    def _connect(self, database: str | None) -> Client:
        transport = OVER_HTTP if self._dsn.startswith("http") else {}
        settings = SETTINGS | cluster.SETTINGS if self._cluster else SETTINGS
        client = clickhouse_connect.get_client(dsn=self._dsn, database=database, settings=settings, **transport)
        self._clients.append(client)
        return client

    def _whole_database(self) -> "Statements":
        on = f" {self._cluster.on}" if self._cluster else ""
        self._connect(None).command(f"CREATE DATABASE IF NOT EXISTS `{self._database}`{on}")
        return Statements(lambda: self._client, self._commands)

    def _commands(self, script: str, parameters: dict[str, Any] | None = None) -> None:
        """Carry out a script's statements, each as it reads where this is a cluster."""
        text = script.replace("{table:Identifier}", str((parameters or {}).get("table")))
        for statement in schema.statements(text):
            for each in self._cluster.statements(statement) if self._cluster else [statement]:
                self._client.command(each, parameters)


class Statements:
    """What migrations are carried out by (see `analytics.schema`)."""

    def __init__(self, client: Callable[[], Client], commands: Callable[..., None]) -> None:
        self._client = client
        self._commands = commands

    def execute(self, statement: str) -> None:
        """Carry out a statement."""
        self._commands(statement)

    def command(self, query: str, **parameters: Any) -> None:
        """Carry out a named one."""
        self._commands(_sql(query), parameters)

    def column(self, query: str) -> list[Any]:
        """Return a named query's first column."""
        return [row[0] for row in self._client().query(_sql(query)).result_rows]

    def attempt(self, query: str, **parameters: Any) -> bool:
        """Carry out a named one; False if its table is there already, or is not there any more."""
        try:
            self.command(query, **parameters)
        except Error as error:
            if error.name not in ("TABLE_ALREADY_EXISTS", "UNKNOWN_TABLE"):
                raise
            return False
        return True


def _refusal(error: ClickHouseError) -> BadDataError | Unavailable:
    kind = (isinstance(error, Error) and error.name) or type(error).__name__
    if kind.startswith(_BAD_DATA) or kind in _BAD_VALUES:
        return BadDataError(kind)
    log.warning("an insert failed", extra={"kind": kind})
    return Unavailable(f"the analytics database cannot store now: {kind}", retry_after=5)


@cache
def _sql(query: str) -> str:
    """Return the query; `{{name}}` in it stands for another one."""
    text = (files("analytics") / "queries" / f"{query}.sql").read_text()
    return re.sub(r"\{\{(\w+)\}\}", lambda name: _sql(name[1]).strip(), text)
