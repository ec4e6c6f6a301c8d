"""Where a moment lies: hours and days in UTC."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

HOUR = 3600
DAY = 24 * HOUR
LAST = 2**32 - HOUR
"""In seconds; LAST is the last hour that the database can name (in 2106)."""

Hour = tuple[UUID, int]
"""One hour of one workspace; the hour by the Unix seconds of its start."""

Day = tuple[UUID, date]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def hour_of(at: int) -> int:
    """Return the hour (Unix seconds of its start) of a time in UTC milliseconds."""
    return at // 1000 // HOUR * HOUR


def stamp(hour: int) -> str:
    """Return an hour as the database reads it, whatever the year (Unix seconds it reads from ten digits on)."""
    return f"{_EPOCH + timedelta(seconds=hour):%Y-%m-%d %H:%M:%S}"


def date_of(at: int) -> date:
    """Return the UTC day of a time in UTC milliseconds."""
    return (_EPOCH + timedelta(milliseconds=at)).date()


def days_of(hours: Iterable[Hour]) -> list[Day]:
    """Return the days these hours lie in, each once."""
    return sorted({(workspace, date_of(hour * 1000)) for workspace, hour in hours})


def hours_of_days(hours: Iterable[Hour]) -> list[Hour]:
    """Return all 24 hours of every day these hours lie in."""
    starts = sorted({(workspace, hour // DAY * DAY) for workspace, hour in hours})
    return [(workspace, start + n * HOUR) for workspace, start in starts for n in range(24)]


def iso(at: int) -> str:
    """Return a time in UTC milliseconds as ISO 8601."""
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
