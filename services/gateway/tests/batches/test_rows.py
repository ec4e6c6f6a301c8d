"""What is a row: lines out of pieces, and each fault by its line's number."""

import json
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import HttpUrl
from services.gateway.tests.batches.conftest import jsonl, row

from common.contracts.topics import MAX_BODY_BYTES
from common.errors import UnknownModel
from common.providers import ProviderSpec
from gateway.batches import validate as validating
from gateway.batches.batch import LineError
from gateway.batches.lines import lines
from gateway.batches.rows import RowReader
from gateway.batches.validate import Limited, Validated, validate
from gateway.models import Resolved

OPENAI = ProviderSpec(name="openai", wire="openai", base_url=HttpUrl("https://example.org"), catalogue="openai")
ANTHROPIC = ProviderSpec(
    name="anthropic", wire="anthropic", base_url=HttpUrl("https://example.org"), catalogue="anthropic"
)
WORKSPACE = UUID(int=1)


async def pieces(content: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), size):
        yield content[begin : begin + size]


async def resolve(name: str) -> Resolved:
    if name.startswith("claude"):
        return Resolved(ANTHROPIC, name)
    if name.startswith("gpt"):
        return Resolved(OPENAI, name)
    raise UnknownModel(f"model: '{name}' is in no catalogue", param="model")


async def validated(rows: list[Any] | bytes, *, limited: Limited = None, **fields: Any) -> Validated:
    reader = RowReader(resolve, fields.get("endpoint"), fields.get("model"))
    content = rows if isinstance(rows, bytes) else jsonl(rows)
    return await validate(pieces(content, 1000), reader, limited=limited)


@given(
    st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=20),
    st.integers(1, 30),
    st.booleans(),
)
async def test_lines_are_those_of_the_whole_file(parts: list[bytes], size: int, ended: bool) -> None:
    content = b"\n".join(parts) + (b"\n" if ended else b"")
    found = [line async for line in lines(pieces(content, size), longest=15)]
    wanted = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1)]
    kept = [(n, line if len(line) <= 15 else None) for n, line in wanted if len(line) > 15 or line.strip()]
    assert [(line.number, line.content) for line in found] == kept
    assert [content[line.start : line.end] for line in found] == [line for n, line in wanted if n in dict(kept)]


async def test_an_editors_mark_is_no_part_of_the_first_line() -> None:
    content = b'\xef\xbb\xbf{"a": 1}\n{"b": 2}\n'
    found = [line async for line in lines(pieces(content, 2), longest=100)]
    assert [content[line.start : line.end] for line in found] == [line.content for line in found]
    assert [line.content for line in found] == [b'{"a": 1}', b'{"b": 2}']


def nested(depth: int) -> list[Any]:
    """Return lists within each other."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
FAULTS = [
    (b"{not json", "invalid_json_line", None),
    (b'["a list"]', "invalid_json_line", None),
    (b'{"custom_id": "\xff"}', "invalid_json_line", None),
    ({"method": "POST"}, "missing_required_parameter", "custom_id"),
    (row(1, custom_id=""), "missing_required_parameter", "custom_id"),
    (row(1, custom_id="x" * 257), "missing_required_parameter", "custom_id"),
    (row(1, custom_id=7), "missing_required_parameter", "custom_id"),
    (row(1, method="GET"), "invalid_method", "method"),
    (row(1, url="/v1/embeddings"), "invalid_url", "url"),
    (row(1, url="/v1/messages"), "mismatched_url", "url"),
    (row(1, body=[]), "invalid_body", "body"),
    (row(1, body={**CHAT, "model": None}), "missing_required_parameter", "model"),
    (row(1, body={"messages": []}), "missing_required_parameter", "model"),
    (row(1, body={**CHAT, "model": "no-such"}), "model_not_found", "model"),
    (row(1, body={**CHAT, "stream": True}), "unsupported", "stream"),
    (row(1, body={**CHAT, "model": "claude-haiku-4-5", "logprobs": True}), "unsupported", "logprobs"),
    (row(0), "duplicate_custom_id", "custom_id"),
    (row(1, body={**CHAT, "tools": nested(127)}), "invalid_request", None),
    (
        json.dumps(row(1, body={**CHAT, "tools": []})).replace("[]", "[" * 900 + "]" * 900).encode(),
        "invalid_request",
        None,
    ),
]


@pytest.mark.parametrize(
    ("line", "code", "param"), FAULTS, ids=[f"{n} {code}" for n, (_, code, _) in enumerate(FAULTS)]
)
async def test_a_fault_is_told_with_its_line(line: Any, code: str, param: str | None) -> None:
    found = await validated([row(0), b"", line, row(2)])
    (error,) = found.errors
    assert (error.line, error.code, error.param) == (3, code, param)
    assert len(found.index) == 2


async def test_a_line_that_is_too_long_is_a_fault_and_not_kept() -> None:
    long = json.dumps(row(1, body={**CHAT, "user": "x" * MAX_BODY_BYTES})).encode()
    found = await validated([row(0), long, row(2)])
    assert [(error.line, error.code) for error in found.errors] == [(2, "too_large")]


async def test_a_number_that_grows_when_it_is_written_anew() -> None:
    numbers = b"[" + b"1e9," * 800_000 + b"1]"
    line = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o", "x": %b}}'
    found = await validated([line % numbers])
    assert [error.code for error in found.errors] == ["too_large"]


@pytest.mark.parametrize("content", [b"", b"\n \n"], ids=["nothing", "blank"])
async def test_a_file_without_rows(content: bytes) -> None:
    assert [error.code for error in (await validated(content)).errors] == ["empty_file"]


async def test_the_first_hundred_faults_are_listed_and_the_others_counted() -> None:
    listed = (await validated([b"{"] * 250)).listed()
    assert [error.line for error in listed] == [*range(1, 101), None]
    assert listed[-1] == LineError(None, "more_errors", "and 150 more lines with errors")


async def test_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validating, "MOST_ROWS", 10)
    assert (await validated([row(n) for n in range(10)])).errors == []
    (error,) = (await validated([row(n) for n in range(12)])).errors
    assert (error.line, error.code) == (11, "too_many_rows")


async def test_a_model_for_rows_that_name_none() -> None:
    found = await validated([row(1, body={"messages": CHAT["messages"]})], model="gpt-4o")
    assert (found.errors, len(found.index)) == ([], 1)


async def test_a_spend_limit_needs_a_price_and_a_bound() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    document = {"type": "file", "file": {"file_id": "file-1"}}
    rows = [
        row(0),
        row(1, body={**CHAT, "model": "gpt-of-our-own"}),
        row(2, body={**CHAT, "messages": [{"role": "user", "content": [image]}]}),
        row(3, body={**CHAT, "messages": [{"role": "user", "content": [document]}]}),
    ]
    found = await validated(rows, limited="listed")
    assert [(error.line, error.code) for error in found.errors] == [(2, "unpriced_model"), (4, "unbounded_cost")]
    plain, with_image = found.index.bound(0), found.index.bound(1)
    size = len(json.dumps(rows[0]))
    assert plain == (size * Decimal("0.15") + 128_000 * Decimal("0.6")) / 1_000_000
    assert with_image > plain + 50_000 * Decimal("0.15") / 1_000_000


async def test_rows_lie_where_the_index_says() -> None:
    draw = random.Random(7)
    rows = [row(n, filler="é" * draw.randrange(50)) for n in range(200)]
    content = jsonl([*rows[:100], b"", *rows[100:]])
    index = (await validated(content)).index
    for number in (0, 99, 100, 199):
        place = index.find(f"row-{number}")
        assert place == number
        assert json.loads(content[index.starts[place] : index.ends[place]]) == rows[number]
    assert index.lines[100] == 102
    assert index.find("row-200") is None
