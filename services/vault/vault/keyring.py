"""The keyring: the versions of the key-encryption key, and sealing and opening under them.

One version is *primary* and seals. The others are *decrypt-only*, until nothing is sealed under them and they are
*retired*. Which is which stands in the database, so that all replicas agree; a version that this process has not met
is read from there when something is sealed under it.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from pydantic import SecretStr

from common.errors import Unavailable
from common.ids import now_ms
from vault.envelope import KEY_BYTES, Context, EnvelopeError, Sealed, Tampered, new_data_key, open_body, seal_body

log = logging.getLogger(__name__)

State = Literal["primary", "decrypt-only", "retired"]
Kind = Literal["local", "transit"]

KNOWN = bytes(KEY_BYTES)
"""What each version keeps a wrap of: a key that opens it is the version's own."""


class KekMissing(EnvelopeError, Unavailable):
    """It is sealed under a key-encryption key that does not open here, or not now; the message says which and why."""


@dataclass(frozen=True)
class KekRecord:
    """A version, as the database keeps it: never the key, but what tells the key from another.

    `reference` is what its kind needs to find it again: of a local one the scrypt salt in hex, of a transit one
    `<mount>/<key>:v<version>`. `check` is a wrap of `KNOWN`. `created_at` is UTC ms.
    """

    version: int
    kind: Kind
    state: State
    reference: str
    check: bytes = field(repr=False)
    created_at: int = field(default_factory=now_ms)

    @property
    def bound(self) -> bytes:
        """The associated data of `check`."""
        return b"tallyrun keyring check %d" % self.version


class Kek(Protocol):
    """A key-encryption key, wherever it is kept."""

    async def wrap(self, data_key: bytes, bound: bytes) -> bytes:
        """Encrypt a data key; `bound` is associated data."""

    async def unwrap(self, wrap: bytes, bound: bytes) -> bytes:
        """Return the data key, or raise `Tampered`; `Unavailable` where the key cannot be asked."""


class Source(Protocol):
    """Where key-encryption keys of a kind come from."""

    @property
    def kind(self) -> Kind:
        """Which versions it may open."""

    @property
    def name(self) -> str:
        """What an operator calls it."""

    async def new_reference(self) -> str:
        """Return the reference of a new key of this source."""

    async def kek(self, reference: str) -> Kek:
        """Return the key of that reference; whether it is the right one shows when it opens the version's check."""


class Records(Protocol):
    """Where the records live."""

    async def keks(self) -> list[KekRecord]:
        """Return every version, the oldest first."""


class Keyring:
    """Seals under one version, opens under all that these sources can open."""

    def __init__(self, records: Records, sources: Sequence[Source]) -> None:
        self._records = records
        self._sources = sources
        self._keks: dict[int, Kek] = {}
        self._reasons: dict[int, str] = {}
        self._reading = asyncio.Lock()
        self.opened_by: dict[int, Source] = {}

    async def seal(self, kek_version: int, context: Context, secret: SecretStr) -> bytes:
        """Return the secret's envelope under this version."""
        kek, data_key = await self._kek(kek_version), new_data_key()
        wrap = await kek.wrap(data_key, context.under(kek_version))
        return Sealed(kek_version, wrap, seal_body(data_key, context, secret)).encode()

    async def open(self, context: Context, envelope: bytes) -> SecretStr:
        """Return the secret; raise an `EnvelopeError`, or `Unavailable` where its version cannot be asked."""
        sealed = Sealed.parse(envelope)
        return open_body(await self._data_key(context, sealed), context, sealed.body)

    async def rewrap(self, kek_version: int, context: Context, envelope: bytes) -> bytes:
        """Return the envelope with its data key wrapped by this version; the body stays as it is, and unopened."""
        sealed, kek = Sealed.parse(envelope), await self._kek(kek_version)
        wrap = await kek.wrap(await self._data_key(context, sealed), context.under(kek_version))
        return replace(sealed, kek_version=kek_version, wrap=wrap).encode()

    async def read(self) -> list[KekRecord]:
        """Read all versions, and open those of them that are not open yet and can be."""
        async with self._reading:
            return await self._read()

    def missing(self, version: int) -> KekMissing | None:
        """Return why a version does not open, or None if it does."""
        if version in self._keks:
            return None
        reason = self._reasons.get(version, "the keyring does not have it, or it was retired")
        return KekMissing(f"version {version} of the key-encryption key does not open here: {reason}", retry_after=2)

    async def _data_key(self, context: Context, sealed: Sealed) -> bytes:
        kek = await self._kek(sealed.kek_version)
        return await kek.unwrap(sealed.wrap, context.under(sealed.kek_version))

    async def _kek(self, version: int) -> Kek:
        if version not in self._keks:
            async with self._reading:
                if version not in self._keks:  # others may have waited for the same one
                    await self._read()
        if (missing := self.missing(version)) is not None:
            raise missing
        return self._keks[version]

    async def _read(self) -> list[KekRecord]:
        records = await self._records.keks()
        for record in records:
            if record.state != "retired" and record.version not in self._keks:
                await self._open(record)
        return records

    async def _open(self, record: KekRecord) -> None:
        try:
            found = await opened(record, self._sources)
        except Unavailable as error:
            log.warning("a key-encryption key cannot be asked", extra={"version": record.version, "reason": str(error)})
            self._reasons[record.version] = error.message
            return
        if found is None:
            self._reasons[record.version] = f"no {record.kind} key that is set here is the one it was made with"
            return
        self.opened_by[record.version], self._keks[record.version] = found


async def opened(record: KekRecord, sources: Sequence[Source]) -> tuple[Source, Kek] | None:
    """Return the source that has this version's key, and the key; raise `Unavailable` if one cannot be asked."""
    for source in sources:
        if source.kind == record.kind and (kek := await _fitting(record, source)) is not None:
            return source, kek
    return None


async def _fitting(record: KekRecord, source: Source) -> Kek | None:
    kek = await source.kek(record.reference)
    try:
        await kek.unwrap(record.check, record.bound)
    except Tampered:
        return None
    return kek


async def new_record(version: int, state: State, source: Source) -> KekRecord:
    """Draw a new key from the source, as this version."""
    reference = await source.new_reference()
    unchecked = KekRecord(version, source.kind, state, reference, b"")
    kek = await source.kek(reference)
    return replace(unchecked, check=await kek.wrap(KNOWN, unchecked.bound))
