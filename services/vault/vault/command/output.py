"""How a command speaks: data on standard output, notes on standard error, failures as exit codes."""

import asyncio
import sys
from collections.abc import Coroutine, Iterable, Sequence

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from common.errors import TallyrunError, Unavailable

FAILED, SOME_FAILED, UNREACHABLE = 1, 3, 7
"""Exit codes, beside 0 and Typer's 2 for what cannot be understood."""


def note(text: str) -> None:
    """Say something that is not data."""
    Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(text)


def write(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table on a terminal, tab-separated lines elsewhere."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(line) + "\n" for line in [columns, *lines])
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for line in lines:
        table.add_row(*line)
    Console(markup=False, highlight=False).print(table)


def run(command: Coroutine[None, None, None]) -> None:
    """Run it to its end; a known failure ends the process with its message, and never with a value it was given."""
    try:
        asyncio.run(command)
    except ValidationError as error:
        note("\n".join(f"{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()))
        sys.exit(FAILED)
    except TallyrunError as error:
        note(f"vault: {error.message}")
        sys.exit(UNREACHABLE if isinstance(error, Unavailable) else FAILED)
