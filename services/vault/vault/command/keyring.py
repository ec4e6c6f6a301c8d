"""`vault keyring`: the versions of the key-encryption key."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from vault.command.opened import database, opened_keyring
from vault.command.output import note, run, write
from vault.kek_versions import add as add_version
from vault.kek_versions import promote as promote_version
from vault.kek_versions import retire as retire_version
from vault.master_key import ADVICE, VARIABLE, MasterKeyRefused
from vault.settings import KeyringSettings

COLUMNS = ("version", "state", "kind", "secrets", "created", "reference")

app = typer.Typer(help="The versions of the key-encryption key: list, add, promote, retire.", no_args_is_help=True)

Version = Annotated[int, typer.Argument(min=1, help="the version, as `vault keyring list` shows it")]
OfTransit = Annotated[bool, typer.Option("--transit", help="the transit key's latest version, not the master key")]


@app.command("list")
def list_() -> None:
    """List the versions, the oldest first, and how many stored secrets are sealed under each."""
    run(_list())


@app.command()
def add(transit: OfTransit = False) -> None:
    """Add the master key that is set (or the transit key) as a new version, decrypt-only."""
    run(_add("transit" if transit else "local"))


@app.command()
def promote(version: Version) -> None:
    """Seal under this version from now on. Every replica must have its key by then."""
    run(_promote(version))


@app.command()
def retire(version: Version) -> None:
    """Retire a version; refused while anything stored is sealed under it."""
    run(_retire(version))


async def _list() -> None:
    async with database(KeyringSettings()) as store:
        records, uses = await store.keks(), await store.kek_uses()
    rows = (
        (record.version, record.state, record.kind, uses.get(record.version, 0), _day(record.created_at), shown)
        for record in records
        for shown in (record.reference if record.kind == "transit" else "",)
    )
    write(COLUMNS, rows)


def _day(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"


async def _add(kind: str) -> None:
    async with opened_keyring(KeyringSettings()) as opened:
        source = next((source for source in opened.sources if source.kind == kind), None)
        if source is None:
            missing = ADVICE.format(VARIABLE) if kind == "local" else "Set TRANSIT_URL and TRANSIT_TOKEN_FILE."
            raise MasterKeyRefused(f"There is no {kind} key to add. {missing}")
        record = await add_version(opened.store, source)
    note(f"Added version {record.version} ({source.name}), decrypt-only.")
    note(f"Now give its key to every replica of the vault, then: vault keyring promote {record.version}")


async def _promote(version: int) -> None:
    async with opened_keyring(KeyringSettings()) as opened:
        await promote_version(opened.store, opened.keyring, version)
    note(f"Version {version} is the primary one: new secrets are sealed under it.")
    note("Now bring the stored ones under it: vault rewrap")


async def _retire(version: int) -> None:
    async with database(KeyringSettings()) as store:
        await retire_version(store, version)
    note(f"Version {version} is retired: nothing stored needs its key any more. Take it away from every replica.")
