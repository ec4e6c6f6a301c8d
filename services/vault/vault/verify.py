"""Is the audit whole? Each row against the one before it, each chain against its head, and against published heads."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from common.contracts.audit_v1 import AuditHead
from vault.chain import NO_WORKSPACE, AuditKey, Head, Row

Kind = Literal["edited", "unlinked", "missing", "truncated", "replaced", "head"]
Place = tuple[UUID, int]
"""(chain, number of a row in it)."""

Macs = Callable[[Sequence[Place]], Awaitable[Mapping[Place, bytes]]]
"""Returns the MACs of the rows at these places, of those that are there."""


@dataclass(frozen=True)
class Fault:
    """Something is wrong with the rows `first` to `last` of a chain; `at` (UTC ms) is when, as far as it is known."""

    kind: Kind
    chain: UUID
    first: int
    last: int
    at: int
    says: str


class Walk:
    """Goes through the rows, chain by chain and in order, and finds what does not follow from what came before. Pure.

    It needs no more memory than one head for each chain.
    """

    def __init__(self, key: AuditKey, heads: Mapping[UUID, Head]) -> None:
        self._key = key
        self._heads = dict(heads)
        self._chain: UUID | None = None
        self._last = Head()
        self.rows = 0

    def row(self, row: Row) -> Iterator[Fault]:
        """Take the next row; yield what is wrong with it, or with the chain that it ends."""
        if row.chain != self._chain:
            yield from self._chain_end()
            self._chain, self._last = row.chain, Head()
        yield from self._place(row)
        if not self._key.made(row):
            yield _fault("edited", row, "was changed, or was not written by the vault in this place")
        self._last = row.head
        self.rows += 1

    def end(self) -> Iterator[Fault]:
        """Take the end of the rows; yield what is wrong with the last chain, and the chains that are gone whole."""
        yield from self._chain_end()
        for chain, head in self._heads.items():
            yield _truncated(chain, Head(), head)

    def _place(self, row: Row) -> Iterator[Fault]:
        if row.seq > self._last.seq + 1:
            says = f"gone: the next that is there is row {row.seq}"
            yield Fault("missing", row.chain, self._last.seq + 1, row.seq - 1, row.entry.at, says)
        elif row.previous != self._last.mac:
            yield _fault("unlinked", row, "does not follow the row before it: one of the two was moved or written anew")

    def _chain_end(self) -> Iterator[Fault]:
        if self._chain is None:
            return
        head = self._heads.pop(self._chain, Head())
        if head.seq > self._last.seq:
            yield _truncated(self._chain, self._last, head)
        elif head != self._last:
            says = "the newest row is not the one that the chain's head names"
            yield Fault("head", self._chain, self._last.seq, self._last.seq, self._last.at, says)


class Comparison:
    """Holds the audit against published heads. It needs no more memory than two faults for each chain."""

    def __init__(self, macs: Macs) -> None:
        self._macs = macs
        self._found: dict[tuple[UUID, Kind], Fault] = {}
        self.chains: set[UUID] = set()
        self.heads = 0

    async def compare(self, heads: Sequence[AuditHead], published_at: int) -> None:
        """Look each head's row up."""
        places = {(head.workspace_id or NO_WORKSPACE, head.seq): bytes.fromhex(head.mac) for head in heads}
        there = await self._macs(list(places))
        for place, mac in places.items():
            if there.get(place) != mac:
                self._note(_lost(place, published_at) if place not in there else _replaced(place, published_at))
        self.chains |= {chain for chain, _ in places}
        self.heads += len(places)

    def faults(self) -> list[Fault]:
        """Return what was found: of each chain the newest row that is gone, and the oldest that is another."""
        return list(self._found.values())

    def _note(self, fault: Fault) -> None:
        known = self._found.setdefault((fault.chain, fault.kind), fault)
        newer = fault.first > known.first
        if newer == (fault.kind == "truncated"):
            self._found[fault.chain, fault.kind] = fault


def of_workspace(heads: Sequence[AuditHead], workspace_id: UUID | None) -> list[AuditHead]:
    """Return the workspace's heads; without one all of them."""
    return [head for head in heads if workspace_id in (None, head.workspace_id)]


def named(fault: Fault) -> Fault:
    """Return the fault with the rows it concerns in its words."""
    rows = f"row {fault.first}" if fault.first == fault.last else f"rows {fault.first} to {fault.last}"
    return replace(fault, says=f"{rows}: {fault.says}")


def _fault(kind: Kind, row: Row, says: str) -> Fault:
    return Fault(kind, row.chain, row.seq, row.seq, row.entry.at, says)


def _truncated(chain: UUID, last: Head, head: Head) -> Fault:
    return Fault(
        "truncated", chain, last.seq + 1, head.seq, head.at, "the newest rows are gone: the chain's head is newer"
    )


def _lost(place: Place, published_at: int) -> Fault:
    return Fault("truncated", *place, place[1], published_at, "gone: its MAC was published at this time")


def _replaced(place: Place, published_at: int) -> Fault:
    says = "not the row whose MAC was published at this time: the chain was written anew up to here"
    return Fault("replaced", *place, place[1], published_at, says)
