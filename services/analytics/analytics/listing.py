"""Which runs a list is of: their days, and the filters that they pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from analytics.calendar import Days, today, zone_of
from analytics.hours import DAY, HOUR, LAST, hour_of
from analytics.question import FILTERS, label_of
from common.admission import NEWEST_MS
from common.contracts.answers_v1 import PERIOD_DAYS
from common.contracts.runs_asked_v1 import RunsAsked
from common.errors import InvalidRequest

WINDOWS = (HOUR, DAY, 31 * DAY, LAST)
"""How far back a page is looked for, in seconds: as a rule the last hour has it, and nothing older is read."""

BEFORE_ALL = UUID(int=0)
AFTER_ALL = UUID(int=2**128 - 1)


@dataclass(frozen=True)
class Listing:
    """Times in UTC ms: runs accepted from `since` on, and before the place that `before_at` and `before_id` are."""

    since: int
    before_at: int
    before_id: UUID
    filters: dict[str, object]

    def windows(self) -> Iterator[dict[str, object]]:
        """Yield what the query is bound with, for the last hours first and then for ever longer spans."""
        first, last = hour_of(self.since), hour_of(self.before_at)
        place = {"since_at": self.since, "before_at": self.before_at, "before_id": self.before_id}
        for window in WINDOWS:
            yield {"from": max(first, last - window), "to": last, **place, **self.filters}
            if last - window <= first:
                return


def listing_of(asked: RunsAsked, now: int, after: tuple[int, UUID] | None) -> Listing:
    """Return the list asked for at that time (UTC ms), behind a place of it; raise `InvalidRequest`."""
    days = _days(asked, now)
    newest = (now + NEWEST_MS, AFTER_ALL) if days is None else (days.end * 1000, BEFORE_ALL)
    before_at, before_id = newest if after is None else min(newest, after)
    return Listing(0 if days is None else days.start * 1000, before_at, before_id, _filters(asked))


def _days(asked: RunsAsked, now: int) -> Days | None:
    zone = zone_of(asked.tz)
    last = asked.to or today(now, zone)
    if asked.from_ is not None:
        return Days(asked.from_, last, zone)
    if asked.period is not None:
        return Days(last - timedelta(days=PERIOD_DAYS[asked.period] - 1), last, zone)
    if asked.to is not None:
        raise InvalidRequest("to: it needs a from, or a period")
    return None


def _filters(asked: RunsAsked) -> dict[str, object]:
    labels = dict(map(label_of, asked.label))
    return {
        **{name: getattr(asked, name) for name in FILTERS},
        "label_names": list(labels),
        "label_values": list(labels.values()),
        "unpriced": asked.unpriced,
        "repeated": asked.repeated,
    }
