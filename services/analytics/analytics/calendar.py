"""Calendar days in a time zone, as spans of Unix seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from analytics.hours import HOUR
from common.errors import InvalidRequest

EARLIEST, LATEST = date(1970, 1, 2), date(2106, 1, 1)
"""What the database's times can name, in every time zone."""


@dataclass(frozen=True)
class Days:
    """Whole calendar days of a time zone, both ends included."""

    first: date
    last: date
    zone: ZoneInfo

    def __post_init__(self) -> None:
        if not EARLIEST <= self.first <= self.last <= LATEST:
            raise InvalidRequest("from, to: a day, and the same or a later one")

    @property
    def start(self) -> int:
        """Unix seconds of the first day's beginning."""
        return _midnight(self.first, self.zone)

    @property
    def end(self) -> int:
        """Unix seconds of the last day's end."""
        return _midnight(self.last + timedelta(days=1), self.zone)

    def before(self) -> Self:
        """Return as many days that end where these begin."""
        length = self.last - self.first + timedelta(days=1)
        return type(self)(self.first - length, self.last - length, self.zone)

    def are_utc(self) -> bool:
        """Whether every one of these days is a UTC day."""
        return not any(self._offsets())

    def on_whole_hours(self) -> bool:
        """Whether every one of these days, and every hour in it, begins on a whole hour of UTC."""
        return not any(offset % HOUR for offset in self._offsets())

    def all(self) -> list[date]:
        """Return each day."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    def split(self, kind: str) -> list[str]:
        """Return the names of the hours, days, weeks (by their Monday) or months that these days touch, in order."""
        if kind == "hour":
            first = self.start // HOUR * HOUR
            return [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:00:00Z}" for at in range(first, self.end, HOUR)]
        names: dict[str, Callable[[date], str]] = {"day": str, "week": _monday, "month": _month}
        return list(dict.fromkeys(map(names[kind], self.all())))

    def _offsets(self) -> list[int]:
        """Return the distance from UTC at the edges of every day, in seconds: it may change on any of them."""
        return [_offset(day, self.zone) for day in (*self.all(), self.last + timedelta(days=1))]


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone; raise `InvalidRequest` where there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"tz: '{name[:64]}' is no time zone; name one as in the IANA database, such as Europe/Berlin"
        raise InvalidRequest(message) from None


def today(now: int, zone: ZoneInfo) -> date:
    """Return the day it is there at a time in UTC ms."""
    return datetime.fromtimestamp(now / 1000, zone).date()


def _monday(day: date) -> str:
    return str(day - timedelta(days=day.weekday()))


def _month(day: date) -> str:
    return f"{day:%Y-%m}"


def _midnight(day: date, zone: ZoneInfo) -> int:
    """Return the Unix seconds at which the day begins; a midnight that the clocks skip begins when they go on."""
    return round(datetime.combine(day, time(), zone).timestamp())


def _offset(day: date, zone: ZoneInfo) -> int:
    offset = datetime.combine(day, time(), zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds())
