"""How data is written: a table on a terminal, tab-separated when piped, or as one asks."""

import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from itertools import chain, islice
from typing import IO, Literal

import orjson
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from tallyrun.command.parquet import write_parquet

WHOLE = ("id", "custom_id", "created_at")
"""Columns that are for copying: they keep to one line in a table."""


class Format(StrEnum):
    """How rows are written. JSON, one array or an object a line, has every field under its name in the API."""

    TABLE = "table"
    TSV = "tsv"
    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"
    PARQUET = "parquet"


def note(text: str, console: Console | None = None) -> None:
    """Say something that is not data."""
    lines = "\n".join(map(printable, text.split("\n")))
    (console or Console(stderr=True)).print(lines, soft_wrap=True, markup=False, highlight=False)


def write(
    rows: Iterable[BaseModel], columns: Sequence[str], how: Format | None = None, to: IO[str] | None = None
) -> None:
    """Write rows: these fields of each, or all of them as JSON."""
    file = to or sys.stdout
    match how or (Format.TABLE if file.isatty() else Format.TSV):
        case Format.TABLE:
            _write_table(rows, columns, file)
        case Format.TSV:
            _write_lines(rows, columns, file)
        case Format.CSV:
            csv.writer(file).writerows(
                _begun(columns, ([_text(cell) for cell in line] for line in _cells(rows, columns)))
            )
        case Format.JSONL:
            file.writelines(f"{as_json(row)}\n" for row in rows)
        case Format.JSON:
            file.write("[\n" + ",\n".join(map(as_json, rows)) + "\n]\n")
        case Format.PARQUET:
            write_parquet(rows, columns, file)


def as_json(row: BaseModel) -> str:
    """Return one row as JSON: amounts are numbers with every digit, times are UTC."""
    return orjson.dumps(row.model_dump(by_alias=True), default=_digits, option=orjson.OPT_UTC_Z).decode()


def _digits(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"no JSON for {type(value).__name__}")


def _write_table(rows: Iterable[BaseModel], columns: Sequence[str], file: IO[str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    lines = list(_cells(rows, columns))
    for column, *values in zip(columns, *lines, strict=True):
        numbers = all(isinstance(value, (int, float, Decimal, type(None))) for value in values)
        justify: Literal["left", "right"] = "right" if numbers and values else "left"
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column in WHOLE, justify=justify)
    for line in lines:
        table.add_row(*map(_shown, line))
    Console(file=file, markup=False, highlight=False).print(table)


def write_fields(row: BaseModel, columns: Sequence[str]) -> None:
    """Write one thing, a line for each of these fields that says something."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for column, value in zip(columns, next(iter(_cells([row], columns))), strict=True):
        if value not in (None, "", {}):
            table.add_row(column.replace("_", " "), _shown(value))
    Console(markup=False, highlight=False).print(table)


def readable(text: str) -> str:
    """Return text as it is; on a terminal without what would move its cursor."""
    if not sys.stdout.isatty():
        return text
    return "".join(character if character in "\n\t" else printable(character) for character in text)


def _write_lines(rows: Iterable[BaseModel], columns: Sequence[str], file: IO[str]) -> None:
    for line in _begun(columns, ([printable(_text(cell)) for cell in line] for line in _cells(rows, columns))):
        print(*line, sep="\t", file=file)


def _begun(columns: Sequence[str], lines: Iterable[list[str]]) -> Iterable[Sequence[str]]:
    """Put the header before the lines, but only once there is an answer: else nothing is written."""
    begun = iter(lines)
    return chain([columns], list(islice(begun, 1)), begun)


def _cells(rows: Iterable[BaseModel], columns: Sequence[str]) -> Iterable[list[object]]:
    return ([getattr(row, column) for column in columns] for row in rows)


def _shown(value: object) -> str:
    """Return a cell for the eye."""
    match value:
        case bool():
            return str(value)
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    return printable(_text(value))


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds")
        case Decimal():
            return format(value, "f")
        case dict():
            return ",".join(f"{name}={inner}" for name, inner in value.items())
    return str(value)


def printable(text: str) -> str:
    """Replace what would move a cursor or break a line: some of it was written by strangers."""
    return "".join(character if character.isprintable() else " " for character in text)
