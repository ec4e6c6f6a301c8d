"""What may be seen of a rejected record's bytes: which fields they hold, and what these say unless it is a text."""

import re
from typing import Any

import orjson

from common.contracts.answers_v1 import Answer
from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.errors import NotFound
from gateway.rejected import NAME_CHARACTERS, Asked, RejectedAnswer, RejectedLog, SetAside, told

TEXTS = {"body", "output", "response", "prompt_preview", "error", "attempts"}
"""What holds a prompt, an answer, or a provider's message, which may quote either."""

SHOWN = (set(RunRequested.model_fields) | set(RunCompleted.model_fields)) - TEXTS
"""A field that we do not know may hold anything: it is named, and not shown."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
MOST_FIELDS = 64


class FieldExcerpt(Answer):
    """One field, "?" where its name is no word. `value` is its JSON, None where that is withheld; `size` in bytes."""

    name: str
    value: str | None
    size: int


class ExcerptAnswer(RejectedAnswer):
    """A record with its fields, at most 64 of them; without any where `fault` says why its bytes have none."""

    fault: str | None
    fields: list[FieldExcerpt]


async def excerpt(log: RejectedLog, offset: int) -> ExcerptAnswer:
    """Return the record of that offset; raise `NotFound`."""
    asked = Asked(offset=offset)
    async with log.reading(asked.span(), None) as reading:
        async for record in reading.records():
            if record.offset == offset:
                return _excerpt(record)
    raise NotFound(f"no rejected record has offset {offset}: it may be older than retention keeps them")


def _excerpt(record: SetAside) -> ExcerptAnswer:
    known = dict(told(record))
    try:
        body = orjson.loads(record.value)
    except orjson.JSONDecodeError as error:
        return ExcerptAnswer(**known, fault=f"no JSON: {error.msg}, at character {error.pos}", fields=[])
    if not isinstance(body, dict):
        return ExcerptAnswer(**known, fault="JSON, but no object", fields=[])
    try:
        fields = [_field(*field) for field in list(body.items())[:MOST_FIELDS]]
    except orjson.JSONEncodeError:  # what can be read a thousand deep is written 254 deep at most
        return ExcerptAnswer(**known, fault="JSON that is nested too deep", fields=[])
    return ExcerptAnswer(**known, fault=None, fields=fields)


def _field(name: str, value: Any) -> FieldExcerpt:
    text = orjson.dumps(value).decode()
    shown = text if name in SHOWN and len(text) <= NAME_CHARACTERS else None
    return FieldExcerpt(name=name if NAME.fullmatch(name) else "?", value=shown, size=len(text.encode()))
