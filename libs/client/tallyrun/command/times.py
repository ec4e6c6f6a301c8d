"""How moments are typed."""

from datetime import UTC, datetime
from typing import Any

import typer

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]


def moment(help: str) -> Any:  # noqa: A002 - Typer's name for it
    """Return an option that takes a moment, in UTC or with an offset."""
    return typer.Option(formats=FORMATS, metavar="TIME", help=f"{help}, in UTC or with an offset")


def aware(time: datetime | None) -> datetime | None:
    """Return the moment; without an offset it is in UTC."""
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
