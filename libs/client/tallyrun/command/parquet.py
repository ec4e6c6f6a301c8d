"""Rows as Parquet, where pyarrow is installed."""

from collections.abc import Iterable, Sequence
from typing import IO

from pydantic import BaseModel

from tallyrun.errors import NotUnderstood


def write_parquet(rows: Iterable[BaseModel], columns: Sequence[str], file: IO[str]) -> None:
    """Write these fields of each row; raise `NotUnderstood` without pyarrow, or on a terminal."""
    if file.isatty():
        raise NotUnderstood("Parquet is no text: write it to a file or a pipe")
    try:
        import pyarrow as pa  # noqa: PLC0415 - large, and nobody needs it who does not ask for this
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise NotUnderstood("Parquet needs pyarrow: pip install pyarrow; or use --format csv") from error
    listed = list(rows)
    table = pa.table({column: [_plain(getattr(row, column)) for row in listed] for column in columns})
    parquet.write_table(table, file.buffer)  # type: ignore[attr-defined] # every text file we write to has one


def _plain(value: object) -> object:
    return list(value.items()) if isinstance(value, dict) else value
