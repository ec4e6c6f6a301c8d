"""The audit as a chain: each row holds the MAC of the row before it, and a MAC over that and all it says itself. Pure.

One chain for each workspace, and one for what has no workspace. Nobody can change, add, move or take away a row of the
middle without the audit key, which the database holds sealed. Taking away the newest rows leaves a shorter chain
that is whole: published heads are what finds it.
"""

import hmac
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from uuid import UUID

from vault.audit import AuditEntry
from vault.envelope import derive

NO_WORKSPACE = UUID(int=0)
"""The chain of what has no workspace: a lease asked for under a grant that was not genuine."""

MAC_BYTES = 32
KEY_INFO = b"tallyrun audit chain 1"


@dataclass(frozen=True)
class Head:
    """A chain's newest row: its number, its MAC, and its time (UTC ms). From 1; here nothing was written."""

    seq: int = 0
    mac: bytes = bytes(MAC_BYTES)
    at: int = 0


@dataclass(frozen=True)
class Row:
    """An entry in its place: number `seq` of its chain, after the row whose MAC is `previous`."""

    seq: int
    previous: bytes
    mac: bytes
    entry: AuditEntry

    @property
    def chain(self) -> UUID:
        """The chain it stands in: its workspace's."""
        return chain_of(self.entry)

    @property
    def head(self) -> Head:
        """What the chain's head is while this row is its newest."""
        return Head(self.seq, self.mac, self.entry.at)


class AuditKey:
    """Makes and checks MACs. Each chain has a key of its own, so that no row is good in another chain."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def append(self, head: Head, entry: AuditEntry) -> Row:
        """Return the row that follows this head."""
        seq = head.seq + 1
        return Row(seq, head.mac, self._mac(seq, head.mac, entry), entry)

    def made(self, row: Row) -> bool:
        """Whether the row's MAC is this key's, over exactly what the row says."""
        return hmac.compare_digest(self._mac(row.seq, row.previous, row.entry), row.mac)

    def _mac(self, seq: int, previous: bytes, entry: AuditEntry) -> bytes:
        key = derive(self._secret, KEY_INFO + chain_of(entry).bytes)
        return hmac.digest(key, b"".join(_parts(seq, previous, entry)), "sha256")


def chain_of(entry: AuditEntry) -> UUID:
    """Return the chain an entry belongs to."""
    return entry.workspace_id or NO_WORKSPACE


def _parts(seq: int, previous: bytes, entry: AuditEntry) -> Iterator[bytes]:
    """Yield what is signed: each field's name and value behind their lengths, so that no two rows look alike.

    A field that is not set is left out, which is not the same as an empty one: a field may be added later.
    """
    yield seq.to_bytes(8, "big") + _sized(previous)
    for name, value in sorted(vars(entry).items()):
        if value is not None:
            yield _sized(name.encode()) + _sized(str(value).encode())


def _sized(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def columns(row: Row) -> dict[str, object]:
    """Return the row field by field, as it is stored and exported."""
    return {**asdict(row.entry), "seq": row.seq, "previous": row.previous, "mac": row.mac}
