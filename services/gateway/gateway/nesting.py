"""How deep a body may nest: a runner's parser gives up at 200, and a record is deeper than its body."""

from typing import Any

from common.errors import InvalidRequest

MOST_NESTED = 128


def check_nesting(body: dict[str, Any]) -> None:
    """Raise `InvalidRequest` where objects and lists lie in each other deeper than that."""
    level: list[Any] = [body]
    for _ in range(MOST_NESTED):
        values = (value for outer in level for value in (outer.values() if isinstance(outer, dict) else outer))
        level = [value for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise InvalidRequest(f"body: its objects and lists lie in each other more than {MOST_NESTED} deep")
