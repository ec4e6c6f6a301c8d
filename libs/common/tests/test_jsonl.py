"""Lines of JSON, however their bytes arrive."""

from collections.abc import AsyncIterator

import pytest

from common.jsonl import lines

CONTENT = '{"a": "\u2028"}\n\n  \n{"b": 2}\r\n{"c": 3}'.encode()
FOUND = ['{"a": "\u2028"}', '{"b": 2}', '{"c": 3}']


@pytest.mark.parametrize("size", [1, 2, 7, len(CONTENT)])
async def test_a_line_is_whole_and_blank_ones_are_none(size: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(CONTENT), size):
            yield CONTENT[begin : begin + size]

    assert [line.decode().rstrip("\r") async for line in lines(pieces())] == FOUND
