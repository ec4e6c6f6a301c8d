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
