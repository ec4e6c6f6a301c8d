"""The first characters of a prompt, out of both wire formats."""

from typing import Any

import pytest

from runner.preview import preview


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"role": "user", "content": "hello"}]}, "hello"),
        ({"messages": [{"role": "user", "content": "first"}, {"role": "assistant", "content": "x"}]}, "first"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}]}, "a"),
        ({"messages": [{"role": "user", "content": "x" * 500}]}, "x" * 200),
        ({"messages": [{"role": "user"}]}, ""),
        ({"messages": "nonsense"}, ""),
        ({"messages": [None]}, ""),
        ({}, ""),
    ],
)
def test_preview(body: dict[str, Any], expected: str) -> None:
    assert preview(body) == expected
