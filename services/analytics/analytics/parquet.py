"""Pages as one Parquet file, each a row group: written as it grows, never held."""

import io
from typing import Any

import pyarrow as pa
from pyarrow import parquet


class _Sink(io.RawIOBase):
    """What the writer writes to: a file that only ever holds what was not taken from it yet."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        """Take bytes, or whatever shows as such."""
        taken = bytes(content)
        self._held.append(taken)
        self._written += len(taken)
        return len(taken)

    def tell(self) -> int:
        """Return the place in the whole file: its footer names places."""
        return self._written

    def take(self) -> bytes:
        """Return what was written since."""
        held, self._held = b"".join(self._held), []
        return held


class Parquet:
    """A file under way. Every page is an Arrow stream of the same columns; money stays Decimal(38, 18)."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._writer: parquet.ParquetWriter | None = None

    def add(self, page: bytes) -> bytes:
        """Add a page, and return the bytes that the file grew by."""
        table = pa.ipc.open_stream(page).read_all()
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._sink, table.schema, compression="zstd")
        if table.num_rows:
            self._writer.write_table(table)
        return self._sink.take()

    def end(self) -> bytes:
        """Return the footer."""
        assert self._writer is not None, "the first page comes first"
        self._writer.close()
        return self._sink.take()
