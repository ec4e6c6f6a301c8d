"""A batch file, checked and ready to be sent: the bytes that were read are the bytes that go."""

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from tallyrun.errors import TOLD_FAULTS, InvalidRows, NotUnderstood, RowFault
from tallyrun.lines import Source, lines_of, name_of
from tallyrun.rows import Refused, batch_line


@dataclass(frozen=True)
class Prepared:
    """Batch lines on the local disk. `size` in bytes; `sha256` of those bytes, in hexadecimal. Close it after use."""

    file: IO[bytes]
    name: str
    rows: int
    size: int
    sha256: str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def prepare(source: Source, model: str | None) -> Prepared:
    """Check every row and write it as a batch line; raise `InvalidRows` that names those that cannot be sent.

    The lines lie in a temporary file: in memory is one row, and every row's id.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        rows, digest = 0, hashlib.sha256()
        for line in batch_lines(source, model):
            rows += 1
            digest.update(line)
            file.write(line)
    except BaseException:
        file.close()
        raise
    if rows == 0:
        file.close()
        raise NotUnderstood(f"{name_of(source)} has no rows", "invalid_rows")
    return Prepared(file, f"{Path(name_of(source)).stem}.jsonl", rows, file.tell(), digest.hexdigest())


def batch_lines(source: Source, model: str | None) -> Iterator[bytes]:
    """Yield the rows as batch lines; the end, or twenty faults, raise `InvalidRows` with what was wrong."""
    faults: list[RowFault] = []
    lines: dict[str, int] = {}  # by custom_id
    for place, line in enumerate(lines_of(source), 1):
        try:
            custom_id, content = batch_line(line, place, model)
            _claim(lines, custom_id, line.number)
            yield content
        except Refused as refused:
            faults.append(RowFault(line.number, str(refused)))
            if len(faults) == TOLD_FAULTS:
                break
    if faults:
        raise InvalidRows(faults)


def _claim(lines: dict[str, int], custom_id: str, number: int) -> None:
    if lines.setdefault(custom_id, number) != number:
        raise Refused(f"its id {custom_id!r} is that of line {lines[custom_id]}")
