"""A file's content, line by line, as it streams by."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

MARK = b"\xef\xbb\xbf"
"""What some editors put before UTF-8."""


@dataclass(frozen=True)
class Line:
    """A line by its number from 1, its first byte, and the one behind its last. `content` None: it is too long.

    A mark before the first one is no part of it.
    """

    number: int
    start: int
    end: int
    content: bytes | None


async def lines(pieces: AsyncIterator[bytes], longest: int) -> AsyncIterator[Line]:
    """Yield every line that is not blank; one over `longest` bytes without its content, which is not kept."""
    splitter = _Splitter(longest)
    async for piece in pieces:
        for line in splitter.split(piece):
            yield line
    for line in splitter.split(b"\n"):
        yield line


class _Splitter:
    """Keeps the beginning of the line that has not ended yet."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._kept = 0
        self._number = 1
        self._start = 0
        self._place = 0

    def split(self, piece: bytes) -> list[Line]:
        """Return the lines that end in this piece."""
        found = []
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._keep(part)
            if (line := self._line()) is not None:
                found.append(line)
            self._place += 1
            self._number, self._start = self._number + 1, self._place
        self._keep(rest)
        return found

    def _keep(self, part: bytes) -> None:
        self._place += len(part)
        self._kept += len(part)
        if self._kept > self._longest:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _line(self) -> Line | None:
        content = b"".join(self._parts) if self._kept <= self._longest else None
        self._parts, self._kept = [], 0
        if self._start == 0 and content is not None and content.startswith(MARK):
            content, self._start = content[len(MARK) :], len(MARK)
        if content is not None and not content.strip():
            return None
        return Line(self._number, self._start, self._place, content)
