"""Results in a file while they arrive, each row once, however often the command is killed and repeated."""

import fcntl
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import IO

from tallyrun.command.output import Format, write
from tallyrun.errors import NotUnderstood
from tallyrun.results import Result


class Outfile:
    """`FILE.<batch>.part`, which becomes `FILE` once the batch has ended and every row is in it."""

    def __init__(self, path: Path, batch_id: str) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.{batch_id}.part")

    async def fill(self, results: AsyncIterator[Result]) -> None:
        """Append what is missing, and give the file its name."""
        try:
            with self.part.open("a+b") as file:
                await self._append(file, results)
        except BlockingIOError as error:
            raise NotUnderstood(f"another command is writing {self.part}") from error
        except OSError as error:
            raise NotUnderstood(f"{self.part} cannot be written: {error.strerror}") from error

    async def _append(self, file: IO[bytes], results: AsyncIterator[Result]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = _kept(file)
        async for result in results:
            if result.custom_id not in there:
                file.write(result.raw.encode() + b"\n")
                file.flush()
        os.fsync(file.fileno())
        self.part.replace(self.path)


class Printed:
    """Results on standard output as they arrive."""

    async def fill(self, results: AsyncIterator[Result]) -> None:
        """Print them."""
        async for result in results:
            sys.stdout.write(f"{result.raw}\n")
            sys.stdout.flush()


def outfile(name: str | None, batch_id: str) -> Outfile | Printed | None:
    """Return where results go: nowhere, to standard output (`-`), or to a file."""
    if name is None:
        return None
    return Printed() if name == "-" else Outfile(Path(name), batch_id)


def write_into(path: Path, rows: Iterable[Result], columns: Sequence[str], how: Format) -> None:
    """Write rows into a file that appears when it is whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            write(rows, columns, how, file)
        part.replace(path)
    except OSError as error:
        raise NotUnderstood(f"{part} cannot be written: {error.strerror}") from error


def must_be_writable(name: str | None) -> None:
    """Raise before anything is sent, not after it was paid for."""
    if name in (None, "-"):
        return
    path = Path(str(name))
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise NotUnderstood(f"{path} cannot be written: {'it is a folder' if path.is_dir() else 'no such folder'}")


def _kept(file: IO[bytes]) -> set[str]:
    """Return the ids of the rows that are there, and cut off the last one if it was torn."""
    file.seek(0)
    ids, whole = set(), 0
    for line in iter(file.readline, b""):
        if not line.endswith(b"\n"):
            break
        ids.add(str(json.loads(line)["customId"]))
        whole += len(line)
    file.truncate(whole)
    return ids
