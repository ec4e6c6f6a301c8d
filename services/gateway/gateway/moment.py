"""Moments: as callers write them, which is ISO 8601 with its offset and no number, and as answers hold them."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError


def _written(value: object) -> object:
    """Refuse numbers, in a query's text as well: whether they are seconds or milliseconds would be a guess."""
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip(" +-").replace(".", "").isdigit()):
        raise PydanticCustomError("moment", "write it as 2026-11-24T08:00:00Z: a number is no moment here")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]


def moment(time: int) -> datetime:
    """Return a time in UTC ms as answers hold it."""
    return datetime.fromtimestamp(time / 1000, UTC)


def moment_or_none(time: int | None) -> datetime | None:
    """Return the same where there is a time."""
    return None if time is None else moment(time)
