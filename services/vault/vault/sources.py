"""Where this vault's key-encryption keys come from, by its settings; and whether it may start with them."""

import logging
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from vault.keyring import KekRecord, Keyring, Source, new_record, opened
from vault.master_key import ADVICE, VARIABLE, MasterKeyRefused, read_master_key
from vault.settings import KeyringSettings
from vault.transit import Transit

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Records(Protocol):
    """Where the versions are kept, and what is sealed under each."""

    async def keks(self) -> list[KekRecord]:
        """Return every version, the oldest first."""

    async def add_kek(self, record: KekRecord) -> bool:
        """Keep a new version; False if there is one of its number."""

    async def kek_uses(self) -> dict[int, int]:
        """Return how many secrets are sealed under each version that has any."""


def read_sources(settings: KeyringSettings) -> list[Source]:
    """Return what is set, the master key first; raise `MasterKeyRefused` if nothing is, or a master key is weak."""
    found = [
        read_master_key(settings.api_key_encryption_key, settings.api_key_encryption_key_file),
        read_master_key(
            settings.api_key_encryption_key_previous,
            settings.api_key_encryption_key_previous_file,
            f"{VARIABLE}_PREVIOUS",
        ),
        _transit(settings),
    ]
    sources: list[Source] = [source for source in found if source is not None]
    if not sources:
        raise MasterKeyRefused(f"No master key is set, and no TRANSIT_URL. {ADVICE.format(VARIABLE)}")
    return sources


def _transit(settings: KeyringSettings) -> Transit | None:
    if settings.transit_url is None:
        return None
    if settings.transit_token_file is None:
        raise MasterKeyRefused("TRANSIT_URL is set: set TRANSIT_TOKEN_FILE to a file with a token for it")
    url = urlsplit(settings.transit_url)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
        raise MasterKeyRefused("TRANSIT_URL must be https://… (or http:// on this machine): data keys travel over it")
    return Transit(settings.transit_url, settings.transit_mount, settings.transit_key, settings.transit_token_file)


async def close(sources: Sequence[Source]) -> None:
    """Close what has connections."""
    for source in sources:
        if isinstance(source, Transit):
            await source.close()


async def unlock(keyring: Keyring, records: Records, sources: Sequence[Source]) -> None:
    """Open the keyring; the first start makes version 1 from the first source.

    Raises `MasterKeyRefused` if the primary version, or one that something is sealed under, does not open, and if a
    master key is set that opens none of the versions there ever were.
    """
    if not await records.keks():
        await records.add_kek(await new_record(1, "primary", sources[0]))
    known, uses = await keyring.read(), await records.kek_uses()
    for record in known:
        if record.state == "primary" or record.version in uses:
            _refuse_unless_open(keyring, record, uses.get(record.version, 0))
    for source in sources:
        if source.kind == "local" and source not in keyring.opened_by.values():
            await _refuse_unless_retired(known, source)


def _refuse_unless_open(keyring: Keyring, record: KekRecord, secrets: int) -> None:
    if (missing := keyring.missing(record.version)) is not None:
        raise MasterKeyRefused(
            f"This database needs another master key, or more than this one: {missing.message}. That version is"
            f" {record.state}, and {secrets} stored secrets are sealed under it."
        )


async def _refuse_unless_retired(known: list[KekRecord], source: Source) -> None:
    for record in known:
        if record.state == "retired" and await opened(record, [source]) is not None:
            log.warning("this master key is retired: take it away", extra={"variable": source.name})
            return
    raise MasterKeyRefused(
        f"{source.name} opens no version of this database's keyring. If it is to be a new one, add it first:"
        " `vault keyring add`."
    )
