"""How requests and answers read: one call as data, and what the gateway's JSON becomes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, BinaryIO, Generic, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

from tallyrun.errors import TallyrunError

T = TypeVar("T")

Read = Callable[[Any], T]
"""Makes a value out of an answer's JSON."""


class Told(BaseModel):
    """Part of an answer: camelCase on the wire, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read. Every one of them may be sent again: it is carried out once."""

    method: str
    path: str
    read: Read[T]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    file: tuple[str, BinaryIO, str] | None = None

    def options(self) -> dict[str, Any]:
        """Return what the HTTP client takes beside method and path."""
        asked = {name: value for name, value in self.params.items() if value is not None}
        options: dict[str, Any] = {"params": asked, "headers": dict(self.headers)}
        if self.file is not None:
            return {**options, "data": dict(self.form), "files": {"file": self.file}}
        return options if self.body is None else {**options, "json": dict(self.body)}


def whole(kind: type[T]) -> Read[T]:
    """Read an answer as it is."""
    return TypeAdapter(kind).validate_python


def data(kind: type[T]) -> Read[T]:
    """Read what an answer of the own API carries."""
    adapter = TypeAdapter(kind)
    return lambda body: adapter.validate_python(body["data"])


def nothing(_: object) -> None:
    """Read nothing: the status said it all."""


def answered(answer: httpx2.Response, read: Read[T]) -> T:
    """Return what the answer says, or raise what the gateway said."""
    body = parsed(answer.text)
    if not answer.is_success:
        raise refusal(answer, body)
    return understood(answer, body, read)


def understood(answer: httpx2.Response, body: Any, read: Read[T]) -> T:
    """Return what a good answer, or a part of it, says."""
    try:
        return read(body)
    except (KeyError, TypeError, ValueError):  # Pydantic's errors are values' errors
        raise refusal(answer, {}) from None


def parsed(text: str) -> Any:
    """Return the JSON with money as decimals, or nothing where it is none."""
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return {}


def refusal(answer: httpx2.Response, body: Any) -> TallyrunError:
    """Return the error that an answer tells, in the own API's shape or in OpenAI's."""
    told = body if isinstance(body, dict) else {}
    inner = told["error"] if isinstance(told.get("error"), dict) else {"message": told.get("error")}
    strange = f"{answer.url.host} answered {answer.status_code}, not as a gateway does"
    wait = answer.headers.get("retry-after", "")
    return TallyrunError(
        str(inner.get("message") or strange),
        code=str(told.get("code") or inner.get("code") or inner.get("type") or "unexpected_answer"),
        status=answer.status_code,
        retry_after=float(wait) if wait.isdecimal() else None,
        again=answer.headers.get("x-should-retry") != "false",
        run_id=told.get("runId"),
    )
