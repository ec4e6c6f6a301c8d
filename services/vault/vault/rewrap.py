"""Rewrapping: every stored secret's data key comes under the primary version, while the vault serves.

Bodies stay as they are. It may be killed anywhere and started again: what was rewrapped is under the primary version,
and what was not is not. An envelope that changed since it was read is left to whoever changed it.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from vault.envelope import Context, EnvelopeError
from vault.keyring import KekMissing

BATCH = 100
"""Secrets of one transaction. Nobody promotes or retires a version during it; leases do not wait for it."""


class Place(NamedTuple):
    """Where a secret is stored."""

    key_id: UUID
    version: int


FIRST = Place(UUID(int=0), 0)


@dataclass(frozen=True)
class Stored:
    """A stored secret, still sealed."""

    context: Context
    sealed: bytes = field(repr=False)

    @property
    def place(self) -> Place:
        """Where it is stored."""
        return Place(self.context.key_id, self.context.version)


@dataclass(frozen=True)
class Swap:
    """An envelope, and what comes in its place."""

    old: Stored
    new: bytes = field(repr=False)


@dataclass
class Outcome:
    """How many were rewrapped, how many had changed meanwhile, and those that do not open."""

    rewrapped: int = 0
    changed: int = 0
    damaged: list[Stored] = field(default_factory=list)


class Transaction(Protocol):
    """What happens together or not at all."""

    async def primary_kek(self) -> int:
        """Return the primary version; it stays that until the end."""

    async def under_other_keks(self, primary: int, after: Place, limit: int) -> list[Stored]:
        """Return what is sealed under another version and lies behind that place, in the order of places."""

    async def swap_sealed(self, swaps: Sequence[Swap]) -> int:
        """Replace each envelope that is still the one that was read; return how many were."""


class Store(Protocol):
    """Where secrets are kept."""

    def keyring_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commit at the end of the block, or roll back if it raises."""


class Wrapper(Protocol):
    """Wraps data keys anew."""

    async def rewrap(self, kek_version: int, context: Context, envelope: bytes) -> bytes:
        """Return the envelope with its data key under this version."""


class Rewrap:
    """One pass over all that is stored."""

    def __init__(self, store: Store, wrapper: Wrapper) -> None:
        self._store = store
        self._wrapper = wrapper
        self.outcome = Outcome()

    async def run(self, advance: Callable[[int], None]) -> Outcome:
        """Rewrap everything, telling after each batch how many it had.

        Raises `KekMissing` where an old version does not open here, and `Unavailable`.
        """
        after = FIRST
        while found := await self._batch(after):
            advance(len(found))
            after = found[-1].place
        return self.outcome

    async def _batch(self, after: Place) -> list[Stored]:
        async with self._store.keyring_transaction() as transaction:
            primary = await transaction.primary_kek()
            found = await transaction.under_other_keks(primary, after, BATCH)
            swaps = [swap for swap in await asyncio.gather(*(self._swap(primary, old) for old in found)) if swap]
            swapped = await transaction.swap_sealed(swaps) if swaps else 0
        self.outcome.rewrapped += swapped
        self.outcome.changed += len(swaps) - swapped
        return found

    async def _swap(self, primary: int, old: Stored) -> Swap | None:
        try:
            return Swap(old, await self._wrapper.rewrap(primary, old.context, old.sealed))
        except KekMissing:
            raise
        except EnvelopeError:
            self.outcome.damaged.append(old)
            return None
