"""Where rows come from: a file with an object or a prompt a line, or the rows themselves. One is in hand at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from tallyrun.errors import InvalidRows, NotUnderstood, RowFault

Source = str | PathLike[str] | IO[bytes] | IO[str] | Iterable[Mapping[str, Any] | str]
"""A file's path, an open file, or the rows: objects, or prompts as text."""

LONGEST = 9 * 1024 * 1024
"""Bytes of a line: a little more than a gateway takes as one request."""

AS_JSON, AS_TEXT = (".jsonl", ".ndjson", ".json"), (".txt", ".text")
"""Endings that say what a file's lines are; in any other file the first line shows it."""


class Line(NamedTuple):
    """A row as it came: its line counted from 1, what it says, its text where that is JSON, why it cannot be read."""

    number: int
    row: Any = None
    text: str | None = None
    fault: str | None = None


def name_of(source: Source) -> str:
    """Return what the rows are called."""
    named = source if isinstance(source, (str, PathLike)) else getattr(source, "name", None)
    return Path(str(named)).name.strip("<>") if named and not isinstance(named, int) else "rows"


def lines_of(source: Source) -> Iterator[Line]:
    """Yield the rows that are not blank; one that cannot be read says so."""
    if isinstance(source, (str, PathLike)):
        try:
            with Path(source).open("rb") as file:
                yield from _of_file(file, name_of(source))
        except OSError as error:
            raise NotUnderstood(f"{source} cannot be read: {error.strerror}") from error
    elif isinstance(source, Iterable) and not hasattr(source, "readline"):
        yield from (Line(number, row) for number, row in enumerate(source, 1))
    else:
        yield from _of_file(cast("IO[Any]", source), name_of(source))


def _of_file(file: IO[Any], name: str) -> Iterator[Line]:
    prompts: bool | None = True if name.endswith(AS_TEXT) else (False if name.endswith(AS_JSON) else None)
    for number, text in _texts(file):
        prompts = not text.startswith(("{", "[")) if prompts is None else prompts
        yield Line(number, text) if prompts else _parsed(number, text)


def _texts(file: IO[Any]) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something, without the space around them."""
    for number, content in enumerate(iter(lambda: file.readline(LONGEST + 1), type(file.readline(0))()), 1):
        text = _text(number, content).strip()
        if text:
            yield number, text


def _text(number: int, content: bytes | str) -> str:
    """Return the line as text; what is no text ends the reading, for the rest would be none either."""
    if len(content) > LONGEST:
        raise InvalidRows([RowFault(number, f"it is longer than {LONGEST // 1024**2} MiB")])
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidRows([RowFault(number, "it is not UTF-8 text")])
    return text


def _parsed(number: int, text: str) -> Line:
    try:
        return Line(number, json.loads(text, parse_constant=_refuse), text)
    except json.JSONDecodeError as error:
        return Line(number, fault=f"it is no JSON: {error.msg} at character {error.pos + 1}")
    except (ValueError, RecursionError) as error:
        return Line(number, fault=f"it is no JSON: {error}")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
