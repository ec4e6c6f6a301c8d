"""The keyring, and what is sealed under each of its versions."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Integer,
    LargeBinary,
    Select,
    Uuid,
    column,
    func,
    select,
    tuple_,
    update,
    values,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from common.errors import Unavailable
from vault.envelope import Context
from vault.keyring import KekRecord, State
from vault.rewrap import Place, Stored, Swap
from vault.store.tables import IS_PRIMARY, KEKS, KEYS, VERSIONS


class KeyringTransaction:
    """One transaction over the keyring and what is sealed under it; the domain's Protocols say what each promises."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def primary_kek(self) -> int:
        """Select it for share."""
        return await primary_kek(self._connection)

    async def locked_keks(self) -> list[KekRecord]:
        """Select all versions for update: nobody seals meanwhile."""
        return await keks(self._connection, select(KEKS).with_for_update())

    async def set_kek_state(self, version: int, state: State) -> None:
        """Write the version's state."""
        await self._connection.execute(update(KEKS).where(KEKS.c.version == version).values(state=state))

    async def kek_uses(self) -> dict[int, int]:
        """Count what is sealed under each version."""
        return await kek_uses(self._connection)

    async def under_other_keks(self, primary: int, after: Place, limit: int) -> list[Stored]:
        """Select what is sealed under another version and lies behind that place, in the order of places."""
        place = tuple_(VERSIONS.c.key_id, VERSIONS.c.version)
        statement = (
            select(KEYS.c.workspace_id, KEYS.c.provider, VERSIONS.c.key_id, VERSIONS.c.version, VERSIONS.c.sealed)
            .join(KEYS)
            .where((VERSIONS.c.kek_version != primary) & (place > tuple_(*after)))
            .where(KEYS.c.id >= after.key_id)  # the planner does not conclude it, and would begin at the first key
            .order_by(VERSIONS.c.key_id, VERSIONS.c.version)
            .limit(limit)
        )
        return [Stored(Context(*row[:4]), row.sealed) for row in await self._connection.execute(statement)]

    async def swap_sealed(self, swaps: Sequence[Swap]) -> int:
        """Replace each envelope that is still the one that was read; return how many were."""
        rows = [(*swap.old.place, swap.old.sealed, swap.new) for swap in swaps]
        columns = (column("key_id", Uuid), column("version", Integer), column("old", LargeBinary))
        given = values(*columns, column("new", LargeBinary), name="given").data(rows)
        same = (VERSIONS.c.key_id == given.c.key_id) & (VERSIONS.c.version == given.c.version)
        swap = update(VERSIONS).where(same & (VERSIONS.c.sealed == given.c.old)).values(sealed=given.c.new)
        return (await self._connection.execute(swap)).rowcount


async def primary_kek(connection: AsyncConnection) -> int:
    """Select the primary version for share: until the transaction ends it stays the primary one."""
    statement = select(KEKS.c.version).where(IS_PRIMARY).with_for_update(read=True)
    # Who waited for a promotion finds no row in a snapshot from before it: the next statement sees the new one.
    for _ in range(2):
        if (version := (await connection.execute(statement)).scalar_one_or_none()) is not None:
            return int(version)
    raise Unavailable("the keyring has no primary version", retry_after=1)


async def keks(connection: AsyncConnection, statement: Select[Any]) -> list[KekRecord]:
    """Run a selection of versions; the oldest first."""
    found = await connection.execute(statement.order_by(KEKS.c.version))
    return [KekRecord(**row) for row in found.mappings()]


async def kek_uses(connection: AsyncConnection) -> dict[int, int]:
    """Count what is sealed under each version that has anything."""
    counted = select(VERSIONS.c.kek_version, func.count()).where(VERSIONS.c.kek_version.is_not(None))
    found = await connection.execute(counted.group_by(VERSIONS.c.kek_version))
    return {int(version): int(uses) for version, uses in found}
