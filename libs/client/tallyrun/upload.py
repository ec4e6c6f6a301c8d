"""A file on its way: read in pieces, as often as it is sent."""

import io
from collections.abc import Callable
from typing import BinaryIO, cast

from tallyrun.prepare import Prepared

Sent = Callable[[int, int], None]
"""Is told how many bytes were sent, of how many."""


def send_silently(_: int, __: int) -> None:
    """Tell nobody."""


class Upload(io.RawIOBase):
    """The prepared rows as the HTTP client reads them."""

    def __init__(self, prepared: Prepared, sent: Sent) -> None:
        super().__init__()
        self.sha256 = prepared.sha256
        self._prepared = prepared
        self._sent = sent

    def part(self) -> tuple[str, BinaryIO, str]:
        """Return it as a part of a multipart body: its name, itself, its type."""
        return self._prepared.name, cast("BinaryIO", self), "application/jsonl"

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, and tell that they go."""
        content = self._prepared.file.read(size)
        self._sent(self._prepared.file.tell(), self._prepared.size)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place: to the beginning, when it is sent again."""
        return self._prepared.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._prepared.file.tell()

    def seekable(self) -> bool:
        """Say that it can be sent again."""
        return True

    def readable(self) -> bool:
        """Say that it can be read."""
        return True
