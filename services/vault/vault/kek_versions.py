"""The versions of the key-encryption key: added, promoted, retired. Each only where nothing stored could be lost."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from common.errors import Conflict, NotFound
from vault.keyring import KekRecord, Keyring, Source, State, new_record, opened


class Transaction(Protocol):
    """What happens together or not at all."""

    async def locked_keks(self) -> list[KekRecord]:
        """Return all versions; until the end nobody seals or changes one."""

    async def set_kek_state(self, version: int, state: State) -> None:
        """Write the version's state."""

    async def kek_uses(self) -> dict[int, int]:
        """Return how many secrets are sealed under each version that has any."""


class Store(Protocol):
    """Where versions are kept."""

    async def keks(self) -> list[KekRecord]:
        """Return every version, the oldest first."""

    async def add_kek(self, record: KekRecord) -> bool:
        """Keep a new version; False if there is one of its number."""

    def keyring_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commit at the end of the block, or roll back if it raises."""


async def add(store: Store, source: Source) -> KekRecord:
    """Make the source's key a new version, decrypt-only: every replica is to open it before it seals."""
    known = await store.keks()
    if not known:
        raise Conflict("this database has no keyring yet: the vault's first start makes version 1")
    record = await new_record(known[-1].version + 1, "decrypt-only", source)
    if (same := await _same(known, record, source)) is not None:
        raise Conflict(f"{source.name} is version {same.version} already ({same.state}): a new version needs a new key")
    if not await store.add_kek(record):
        raise Conflict("another version was added in this very moment: see `vault keyring list`")
    return record


async def _same(known: Sequence[KekRecord], new: KekRecord, source: Source) -> KekRecord | None:
    """Return the version that has the same key: a local one opens it, a transit one has its reference."""
    for record in known:
        if record.kind == new.kind == "local" and await opened(record, [source]) is not None:
            return record
        if record.reference == new.reference:
            return record
    return None


async def promote(store: Store, keyring: Keyring, version: int) -> None:
    """Let this version seal from now on, and the one before only decrypt; a repetition changes nothing."""
    await keyring.read()
    async with store.keyring_transaction() as transaction:
        records = await transaction.locked_keks()
        if _of(records, version).state == "retired":
            raise Conflict(f"version {version} was retired: add a new one")
        if (missing := keyring.missing(version)) is not None:
            raise missing
        before = next(record for record in records if record.state == "primary")
        await transaction.set_kek_state(before.version, "decrypt-only")
        await transaction.set_kek_state(version, "primary")


async def retire(store: Store, version: int) -> None:
    """End this version for good, if nothing is sealed under it; a repetition changes nothing."""
    async with store.keyring_transaction() as transaction:
        record = _of(await transaction.locked_keks(), version)
        if record.state == "primary":
            raise Conflict(f"version {version} is the primary one: promote another, and `vault rewrap`, before")
        if uses := (await transaction.kek_uses()).get(version, 0):
            raise Conflict(f"{uses} stored secrets still use version {version}: run `vault rewrap`, then retire it")
        await transaction.set_kek_state(version, "retired")


def _of(records: Sequence[KekRecord], version: int) -> KekRecord:
    for record in records:
        if record.version == version:
            return record
    raise NotFound(f"the keyring has no version {version}: see `vault keyring list`")
