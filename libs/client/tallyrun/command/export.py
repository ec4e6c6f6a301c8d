"""`tallyrun export`: the runs of some days as a file, of any size."""

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

import typer

from tallyrun.command.outfile import must_be_writable
from tallyrun.command.period import Since, Tz, Until, days
from tallyrun.command.progress import Bar
from tallyrun.command.session import Session
from tallyrun.errors import NotUnderstood


class Kind(StrEnum):
    """What is written: a row for each execution, or for each charge as FOCUS 1.2 has it."""

    CSV = "csv"
    PARQUET = "parquet"
    FOCUS = "focus"


def export(
    session: Session,
    kind: Annotated[
        Kind, typer.Argument(help="csv or parquet: a row a run; focus: cost columns as FOCUS 1.2 has them")
    ],
    since: Since = "30d",
    until: Until = None,
    tz: Tz = "UTC",
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE", help="a file, or - for standard output")] = "-",
    texts: Annotated[bool, typer.Option("--texts", help="also what was said (members and admins)")] = False,
    model: Annotated[list[str] | None, typer.Option(help="of this model only; may be repeated")] = None,
    user: Annotated[list[str] | None, typer.Option(help="of this user only; may be repeated")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="with this label only")] = None,
) -> None:
    """Write runs into a file, which appears when it is whole. Their costs add up to what `tallyrun cost` says."""
    must_be_writable(out)
    if out == "-" and kind is Kind.PARQUET and sys.stdout.isatty():
        raise NotUnderstood("Parquet is no text: name a file with -o, or pipe it")
    filters = {"model": model or [], "user": user or [], "label": label or []}
    with session.client() as client, Bar(session) as bar:
        pieces = client.export(kind.value, days(since, until, tz), texts=texts, **filters)
        if out == "-":
            _write(pieces, sys.stdout.buffer, bar)
        else:
            _write_file(pieces, Path(out), bar)


def _write_file(pieces: Iterable[bytes], path: Path, bar: Bar) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            _write(pieces, file, bar)
        part.replace(path)
    except OSError as error:
        raise NotUnderstood(f"{part} cannot be written: {error.strerror}") from error


def _write(pieces: Iterable[bytes], file: IO[bytes], bar: Bar) -> None:
    written = 0
    for piece in pieces:
        written += file.write(piece)
        bar.written(written)
    file.flush()
