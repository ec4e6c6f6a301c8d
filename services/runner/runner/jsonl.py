"""JSON lines as they stream by."""

from collections.abc import AsyncIterator


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    r"""Yield each line that is not blank. Only \n ends one: JSON texts may hold what Unicode takes for a line's end."""
    begun: list[bytes] = []
    async for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            line = b"".join((*begun, part))
            begun.clear()
            if line.strip():
                yield line
        if rest:
            begun.append(rest)
    if line := b"".join(begun).strip():
        yield line


async def joined(pieces: AsyncIterator[bytes], size: int = 256 * 1024) -> AsyncIterator[bytes]:
    """Yield the same bytes in pieces of about this size."""
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        if len(waiting) >= size:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
