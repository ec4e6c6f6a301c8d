"""The audit's tables: rows in chains, each chain's head, and the sealed key."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    bindparam,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy import (
    Row as Selected,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from vault.audit import AuditEntry
from vault.chain import NO_WORKSPACE, AuditKey, Head, Row, chain_of, columns

METADATA = MetaData()
FETCHED_ROWS = 1000
"""At a time, of a table that may have any number of rows."""

_AUDIT = Table(
    "audit",
    METADATA,
    Column(
        "chain", Uuid, Computed(f"coalesce(workspace_id, '{NO_WORKSPACE}'::uuid)", persisted=True), primary_key=True
    ),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("previous", LargeBinary, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("workspace_id", Uuid),
    Column("provider", Text),
    Column("key_id", Uuid),  # no foreign key: what was erased stays in the audit
    Column("version", Integer),
    Column("grant_id", Uuid),
    Column("operation", Text),
)
_ENTRY = [_AUDIT.c[field.name] for field in fields(AuditEntry)]

_HEADS = Table(
    "audit_heads",
    METADATA,
    Column("chain", Uuid, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
)
_HEAD = (_HEADS.c.seq, _HEADS.c.mac, _HEADS.c.at)

_LOCK = select(*_HEAD).where(_HEADS.c.chain == bindparam("chain")).with_for_update()
_BEGIN = upsert(_HEADS).values(chain=bindparam("chain"), **asdict(Head())).on_conflict_do_nothing()
_APPEND = (
    update(_HEADS)
    .where(_HEADS.c.chain == bindparam("of_chain"))
    .values(seq=bindparam("seq"), mac=bindparam("mac"), at=bindparam("at"))
    .add_cte(
        insert(_AUDIT)
        .values({column.name: bindparam(column.name) for column in _AUDIT.c if column.name != "chain"})
        .cte("row")
    )
)
"""The row and its chain's head in one statement: the chain is locked meanwhile."""


async def append(connection: AsyncConnection, key: AuditKey, entry: AuditEntry) -> None:
    """Add the entry to its chain, which stays locked until the end of the transaction."""
    row = key.append(await _locked(connection, chain_of(entry)), entry)
    await connection.execute(_APPEND, {"of_chain": row.chain, **columns(row)})


async def _locked(connection: AsyncConnection, chain: UUID) -> Head:
    """Return the chain's head, locked; the first one makes it."""
    found = (await connection.execute(_LOCK, {"chain": chain})).one_or_none()
    if found is None:
        await connection.execute(_BEGIN, {"chain": chain})
        found = (await connection.execute(_LOCK, {"chain": chain})).one()
    return Head(*found)


@dataclass(frozen=True)
class Period:
    """Rows of this workspace's chain (None: of all), from `since` on and before `until` (UTC ms)."""

    workspace_id: UUID | None = None
    since: int = 0
    until: int = 2**63 - 1


class AuditReader:
    """Reads the audit as it stands at one moment, whatever is written meanwhile."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def heads(self, workspace_id: UUID | None = None) -> dict[UUID, Head]:
        """Return the head of every chain, or of the workspace's alone."""
        statement = select(_HEADS.c.chain, *_HEAD)
        if workspace_id is not None:
            statement = statement.where(_HEADS.c.chain == workspace_id)
        return {row.chain: Head(*row[1:]) for row in await self._connection.execute(statement)}

    async def rows(self, period: Period) -> AsyncIterator[Row]:
        """Yield the rows, chain by chain, in the order of their numbers; in constant memory."""
        statement = (
            select(_AUDIT.c.seq, _AUDIT.c.previous, _AUDIT.c.mac, *_ENTRY)
            .where((_AUDIT.c.at >= period.since) & (_AUDIT.c.at < period.until))
            .order_by(_AUDIT.c.chain, _AUDIT.c.seq)
        )
        if period.workspace_id is not None:
            statement = statement.where(_AUDIT.c.chain == period.workspace_id)
        found = await self._connection.stream(statement.execution_options(yield_per=FETCHED_ROWS))
        async for row in found:
            yield _row(row)

    async def macs(self, places: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], bytes]:
        """Return the MACs of the rows at these places (chain, number), of those that are there."""
        statement = select(_AUDIT.c.chain, _AUDIT.c.seq, _AUDIT.c.mac)
        found = await self._connection.execute(statement.where(tuple_(_AUDIT.c.chain, _AUDIT.c.seq).in_(places)))
        return {(row.chain, row.seq): row.mac for row in found}


def _row(selected: Selected[Any]) -> Row:
    entry = selected._asdict()
    seq, previous, mac = (entry.pop(name) for name in ("seq", "previous", "mac"))
    return Row(seq, previous, mac, AuditEntry(**entry))
