"""A moment as callers write it: ISO 8601 with its offset, and nothing that Pydantic would take for seconds."""

from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError


def _written(moment: object) -> object:
    """Refuse numbers, in a query's text as well: whether they are seconds or milliseconds would be a guess."""
    if isinstance(moment, int | float) or (isinstance(moment, str) and moment.strip(" +-").replace(".", "").isdigit()):
        raise PydanticCustomError("moment", "write it as 2026-11-24T08:00:00Z: a number is no moment here")
    return moment


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
