"""How data is written: a table on a terminal, tab-separated when piped, JSON when asked for."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain, islice

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table


def note(text: str) -> None:
    """Say something that is not data."""
    Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(_printable(text))


def write(rows: Iterable[BaseModel], columns: Sequence[str]) -> None:
    """Write these fields of each row."""
    cells = ([_cell(getattr(row, column)) for column in columns] for row in rows)
    if sys.stdout.isatty():
        _write_table(cells, columns)
    else:
        _write_lines(cells, columns)


def write_json(rows: Iterable[BaseModel]) -> None:
    """Write all fields of all rows as one JSON array, under the names of the API."""
    print(json.dumps([row.model_dump(mode="json", by_alias=True) for row in rows], indent=2))


def _write_table(rows: Iterable[Sequence[str]], columns: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _write_lines(rows: Iterable[Sequence[str]], columns: Sequence[str]) -> None:
    begun = iter(rows)
    first = list(islice(begun, 1))  # before the header: where there is no answer, nothing is written
    for line in chain([columns], first, begun):
        print(*line, sep="\t")


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    return "" if value is None else _printable(str(value))


def _printable(text: str) -> str:
    """Replace what would move a cursor or break a line: some of it was written by strangers."""
    return "".join(character if character.isprintable() else " " for character in text)
