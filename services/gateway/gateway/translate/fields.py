"""Reading a body that is nobody's model: each field is taken once, and what is left over asks for something."""

from collections.abc import Mapping
from typing import Any, TypeVar

from common.errors import InvalidRequest, Unsupported

Kind = TypeVar("Kind")

NOTHING: tuple[Any, ...] = (None, False, "", [], {})
"""Values that ask for nothing, as clients send them that write every field they know."""


class Fields:
    """The fields of one object, at `path` in the body."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise InvalidRequest(f"{path or 'body'}: it must be an object", param=path or None)
        self._left: dict[str, Any] = dict(value)
        self.path = path

    def name(self, field: str) -> str:
        """Return a field's whole name, as errors give it."""
        return f"{self.path}.{field}" if self.path else field

    def take(self, field: str, kind: type[Kind]) -> Kind | None:
        """Return the field, None where it is absent or null; raise `InvalidRequest` where it is of another kind."""
        value = self._left.pop(field, None)
        if value is None or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
            return value
        raise InvalidRequest(f"{self.name(field)}: it must be {_article(kind)}", param=self.name(field))

    def need(self, field: str, kind: type[Kind]) -> Kind:
        """Return the field, or raise `InvalidRequest` where it is absent."""
        if (value := self.take(field, kind)) is None:
            raise InvalidRequest(f"{self.name(field)}: it is required", param=self.name(field))
        return value

    def number(self, field: str) -> float | None:
        """Return a field that is any number."""
        value = self._left.get(field)
        return self.take(field, int if isinstance(value, int) else float)

    def raw(self, field: str) -> Any:
        """Return the field, whatever it is."""
        return self._left.pop(field, None)

    def neutral(self, *values: object, field: str) -> None:
        """Drop a field that has a value which asks for what is done anyway."""
        if self._left.get(field) in values:
            self._left.pop(field, None)

    def finish(self) -> None:
        """Raise `Unsupported` for the first field that was not taken and asks for something."""
        for field, value in self._left.items():
            if not _is_nothing(value):
                raise self.unsupported(field)

    def unsupported(self, field: str, what: str = "") -> Unsupported:
        """Return the error for a field, or for this value of it."""
        name = self.name(field)
        return Unsupported(f"{name}: {what or 'it has no counterpart'} at this model's provider", param=name)


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def items(value: list[Any] | None, path: str) -> list[tuple[Any, str]]:
    """Return a list's items, each with its path."""
    return [(item, f"{path}.{place}") for place, item in enumerate(value or [])]


def _is_nothing(value: object) -> bool:
    return any(type(value) is type(nothing) and value == nothing for nothing in NOTHING)


def _article(kind: type[Any]) -> str:
    names: Mapping[type[Any], str] = {
        str: "a string",
        dict: "an object",
        list: "an array",
        bool: "true or false",
        int: "a whole number",
    }
    return names.get(kind, "a number")
