"""`vault legacy`: keys of the system before this one."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from vault.command.opened import opened_store
from vault.command.output import SOME_FAILED, note, run, write
from vault.command.progress import Counting
from vault.importing import DryRun, Import, Opened, Outcome, Result, opened_lines
from vault.legacy import DEFAULT_SALT, LegacyKey
from vault.settings import VaultSettings

COLUMNS = ("line", "workspace_id", "provider", "name", "outcome", "why")
FINE: tuple[Outcome, ...] = ("opens", "imported", "unchanged")

app = typer.Typer(help="Keys of the system before this one: import them.", no_args_is_help=True)

File = Annotated[
    Path,
    typer.Argument(exists=True, dir_okay=False, help="JSON lines, or .csv: workspace_id, provider, name, encrypted"),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="write nothing; say which lines open")]
Salt = Annotated[str, typer.Option(help="the salt that the legacy system gave to scrypt")]
FromStdin = Annotated[bool, typer.Option("--passphrase-stdin", help="read the legacy passphrase from standard input")]


class LegacySettings(BaseSettings):
    """The legacy system's passphrase, which it had as API_KEY_ENCRYPTION_KEY: here that is the vault's own."""

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True)

    legacy_api_key_encryption_key: SecretStr | None = Field(None)


@app.callback()
def _subject() -> None:
    """Keep the command's name even while there is only one: Typer would drop it."""


@app.command("import")
def import_(
    file: File, dry_run: DryRunOption = False, salt: Salt = DEFAULT_SALT, passphrase_stdin: FromStdin = False
) -> None:
    """Open each line with the legacy passphrase, seal it anew, and let runs use it; list the lines that were left out.

    The passphrase comes from LEGACY_API_KEY_ENCRYPTION_KEY, from standard input, or is asked for. A repetition imports
    what is missing, and changes nothing else. Exits with 0 where every line is fine, with 3 where some were left out,
    with 7 where the database is away.
    """
    opened = opened_lines(file, LegacyKey(_passphrase(from_stdin=passphrase_stdin), salt))
    run(_dry_run(opened) if dry_run else _import(VaultSettings(), opened))


def _passphrase(*, from_stdin: bool) -> SecretStr:
    """Return it from where it may come: never from an argument, which every user of the machine can read."""
    if from_stdin:
        return _given(sys.stdin.readline().rstrip("\r\n"))
    if (set_ := LegacySettings().legacy_api_key_encryption_key) is not None:
        return set_
    if not sys.stdin.isatty():
        return _given("")
    return _given(typer.prompt("The legacy system's API_KEY_ENCRYPTION_KEY", hide_input=True, err=True))


def _given(passphrase: str) -> SecretStr:
    if not passphrase:
        raise typer.BadParameter("no legacy passphrase: set LEGACY_API_KEY_ENCRYPTION_KEY, or use --passphrase-stdin")
    return SecretStr(passphrase)


async def _dry_run(lines: Iterator[Opened]) -> None:
    dry_run, tally = DryRun(), Tally()
    with Counting("lines read") as counting:
        for opened in lines:
            tally.add(dry_run.take(opened))
            counting.show(tally.lines)
    tally.tell("Nothing was written: this was a dry run.")


async def _import(settings: VaultSettings, lines: Iterator[Opened]) -> None:
    tally = Tally()
    async with opened_store(settings) as (store, keyring, _):
        importing = Import(store, keyring)
        with Counting("lines imported") as counting:
            for opened in lines:
                tally.add(await importing.take(opened))
                counting.show(tally.lines)
    tally.tell("Each key that was imported is in use, and was not tried at its provider.")


class Tally:
    """What became of the lines: how many of each provider, and those that were left out."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Outcome, str]] = Counter()
        self._left_out: list[Result] = []

    @property
    def lines(self) -> int:
        """How many there were."""
        return self._counts.total()

    def add(self, result: Result) -> None:
        """Count a line."""
        self._counts[result.outcome, result.row.provider if result.row else "-"] += 1
        if result.outcome not in FINE:
            self._left_out.append(result)

    def tell(self, last: str) -> None:
        """Write the lines that were left out, then the counts; exit with 3 if there are such lines."""
        if self._left_out:
            write(COLUMNS, map(_cells, self._left_out))
        for (outcome, provider), count in sorted(self._counts.items()):
            note(f"{count:>8,}  {outcome:<9}  {provider}")
        note(last)
        if self.lines and {outcome for outcome, _ in self._counts} == {"refused"}:
            note("Not one line opens: are these the passphrase and the salt of the system that wrote the file?")
        if self._left_out:
            raise typer.Exit(SOME_FAILED)


def _cells(result: Result) -> tuple[object, ...]:
    row = result.row
    place = ("", "", "") if row is None else row.place
    return (result.line, *place, result.outcome, result.why)
