"""Rows as people write them: what is sent for each, and what is refused before anything is."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tallyrun.errors import InvalidRows, NotUnderstood
from tallyrun.lines import LONGEST, Source
from tallyrun.prepare import prepare

WHOLE = '{"custom_id":"a",  "method":"POST","url":"/v1/messages","body":{"model":"m","max_tokens":1.50}}'


def sent(source: Source, model: str | None = "m") -> list[Any]:
    """Return what is sent for these rows."""
    with prepare(source, model) as prepared:
        prepared.file.seek(0)
        content = prepared.file.read()
    assert (prepared.size, prepared.rows) == (len(content), content.count(b"\n"))
    return [json.loads(line) for line in content.splitlines()]


def asked(custom_id: str, text: str, **more: Any) -> dict[str, Any]:
    body = {**more, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def test_simple_rows_become_batch_lines() -> None:
    rows: list[dict[str, Any] | str] = [
        {"prompt": "one"},
        {"input": "two", "id": 7, "temperature": 0, "max_tokens": 5},
        {"messages": [{"role": "system", "content": "é"}], "custom_id": "c", "model": "openai/gpt-4.1"},
        "four",
    ]
    third = {**asked("c", "", model="openai/gpt-4.1")}
    third["body"] = {"model": "openai/gpt-4.1", "messages": [{"role": "system", "content": "é"}]}
    expected = [asked("row-1", "one"), asked("7", "two", temperature=0, max_tokens=5), third, asked("row-4", "four")]
    assert sent(rows) == expected
    assert sent(iter(rows)) == expected, "rows that can be read but once"
    lines = "\n\n".join(json.dumps(row) for row in rows[:3])
    assert sent(io.BytesIO(lines.encode())) == expected[:3], "blank lines are no rows"
    assert sent(io.StringIO(lines)) == expected[:3]


def test_batch_lines_pass_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "whole.jsonl"
    file.write_text(f"\ufeff{WHOLE}\r\n")
    with prepare(file, None) as prepared:
        prepared.file.seek(0)
        assert prepared.file.read().decode() == f"{WHOLE}\n"


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("first\n\n  second \n{not: json}")
    assert sent(file) == [asked("row-1", "first"), asked("row-2", "second"), asked("row-3", "{not: json}")]
    assert sent(io.BytesIO(b"first\nsecond")) == [asked("row-1", "first"), asked("row-2", "second")]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"prompt": "x"', "it is no JSON: Expecting ',' delimiter at character 15"),
        ("[]", "it is no JSON object"),
        ('{"prompt": NaN}', "it is no JSON: NaN is no JSON number"),
        ("[" * 10**6, "it is no JSON: maximum recursion depth exceeded"),
        ('{"question": "x"}', "it has 'question', which no chat completion has"),
        ('{"model": "x"}', "exactly one of"),
        ('{"prompt": "x", "messages": []}', "exactly one of"),
        ('{"prompt": " "}', "its 'prompt' is no text"),
        ('{"messages": ["x"]}', "its 'messages' are no list of objects"),
        ('{"prompt": "x", "id": true}', "its id is neither text nor a whole number"),
        ('{"prompt": "x", "id": ""}', "its id is neither text nor a whole number"),
        ('{"prompt": "x", "id": "row-1"}', "its id 'row-1' is that of line 1"),
        ('{"prompt": "\\ud800"}', "half a character"),
        ('{"body": 1}', "its 'body' is no JSON object"),
        ('{"body": {}}', "it has a 'body' but no 'custom_id'"),
        ('{"body": {}, "custom_id": "x"}', 'needs "method"'),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_before_anything_is_sent(row: str, why: str) -> None:
    good = '{"prompt": "x"}'
    with pytest.raises(InvalidRows) as refused:
        sent(io.BytesIO(f"{good}\n\n{row}\n{good}".encode()))
    (fault,) = refused.value.faults
    assert fault.line == 3
    assert why in fault.why


def test_a_row_needs_a_model() -> None:
    with pytest.raises(InvalidRows, match="it names no model"):
        sent([{"prompt": "x"}], None)
    assert sent([{"prompt": "x", "model": "m"}], None)


def test_twenty_faults_are_told_not_all() -> None:
    with pytest.raises(InvalidRows, match="and perhaps more") as refused:
        sent({"prompt": 1} for _ in range(10**9))
    assert [fault.line for fault in refused.value.faults] == list(range(1, 21))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "has no rows"),
        (b"\n \n", "has no rows"),
        (bytes(range(256)) * 9, "line 1: it is not UTF-8 text"),
        (b"\xff\xfe{\x00}\x00", "line 1: it is not UTF-8 text"),
        (b"fine\n\x00\x01", "line 2: it is not UTF-8 text"),
        (b"x" * (LONGEST + 1), "line 1: it is longer than 9 MiB"),
    ],
    ids=["empty", "blank", "binary", "utf-16", "binary later", "one line"],
)
def test_what_is_no_file_of_rows_says_so(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(NotUnderstood, match=why):
        sent(tmp_path / "file")


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotUnderstood, match="cannot be read: Is a directory"):
        sent(tmp_path)
    with pytest.raises(NotUnderstood, match="cannot be read: No such file"):
        sent(str(tmp_path / "none"))
