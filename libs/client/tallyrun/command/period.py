"""Which days a command is about, as they are typed."""

from datetime import date
from typing import Annotated

import typer

from tallyrun.errors import NotUnderstood
from tallyrun.repricing import Days
from tallyrun.usage import PERIODS

Since = Annotated[str, typer.Option(metavar="7d|30d|90d|1y|DATE", help="so many days, or from this day on")]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="the last day; today unless said")]
Tz = Annotated[str, typer.Option(help="the time zone of the days, as in Europe/Berlin")]


def days(since: str, until: str | None, tz: str) -> Days:
    """Return the days; raise where they are none."""
    period = since if since in PERIODS else None
    return Days(
        period, None if period else _day(since, "--since"), None if until is None else _day(until, "--until"), tz
    )


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise NotUnderstood(
            f"{option}: '{text}' is neither one of {', '.join(PERIODS)} nor a day, 2026-11-24"
        ) from None
