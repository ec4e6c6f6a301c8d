"""What can be asked of usage: days, dimensions, filters; and which table knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import NamedTuple

from analytics.calendar import Days, today, zone_of
from common.contracts.answers_v1 import PERIOD_DAYS, Source
from common.contracts.usage_v1 import UsageAsked
from common.errors import InvalidRequest

TIMES = ("hour", "day", "week", "month")
TIME = "time"
"""Whichever of them suits the number of days."""

LONGEST = {"hour": 2, "day": 92, "week": 731}
"""Days that are shown by it at most; more are shown by month."""

ROLLED_UP = ("model", "provider", "key")
"""What the rollups know besides the time."""

FROM_RUNS = ("prompt", "user", "batch", "status", "tier", "error")
FILTERS = (*ROLLED_UP, *FROM_RUNS)
OF_ENDED = ("key", "status", "tier", "error")
"""What is known of a run once it has ended, and not before."""

DIMENSIONS = (*TIMES, *FILTERS)
LABEL = "label"

MOST_DIMENSIONS = 2


class Dimension(NamedTuple):
    """One of `DIMENSIONS`, or the values of a label."""

    kind: str
    label: str = ""

    @classmethod
    def parse(cls, text: str) -> "Dimension":
        """Read `model`, or `label:team`."""
        kind, _, label = text.partition(":")
        if kind in (*DIMENSIONS, TIME) and not label:
            return cls(kind)
        if kind == LABEL and label:
            return cls(kind, label)
        raise InvalidRequest(f"by: '{text[:64]}' is unknown; allowed: {', '.join((TIME, *DIMENSIONS))}, {LABEL}:NAME")

    @property
    def name(self) -> str:
        """What it is called in answers."""
        return f"{self.kind}:{self.label}" if self.label else self.kind

    @property
    def is_time(self) -> bool:
        """Whether its values lie in time, so that all of them are shown."""
        return self.kind in TIMES


@dataclass(frozen=True)
class Question:
    """What is asked. `top`: so many values of the dimensions besides time are told apart, the costliest."""

    days: Days
    by: tuple[Dimension, ...] = ()
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    top: int = 100

    def __post_init__(self) -> None:
        if len(self.by) > MOST_DIMENSIONS:
            raise InvalidRequest(f"by: at most {MOST_DIMENSIONS} dimensions")

    def source(self) -> Source:
        """Return the coarsest table that knows everything asked for."""
        asked = {dimension.kind for dimension in self.by} | {name for name, values in self.filters.items() if values}
        if self.labels or asked & {*FROM_RUNS, LABEL} or not self.days.on_whole_hours():
            return "runs"
        return "days" if self.days.are_utc() and "hour" not in asked else "hours"

    def not_filtered(self) -> list[str]:
        """Return the filters that cannot be put to a run that has not ended."""
        return [name for name in OF_ENDED if self.filters.get(name)]

    def of_accepted(self) -> "Question":
        """Return the question without those filters."""
        return replace(self, filters={name: of for name, of in self.filters.items() if name not in OF_ENDED})

    def times(self) -> list[str]:
        """Return every value of the first dimension that is a time."""
        kind = next((dimension.kind for dimension in self.by if dimension.is_time), None)
        return [] if kind is None else self.days.split(kind)

    def parameters(self, days: Days) -> dict[str, object]:
        """Return what the queries are bound with."""
        first, second = (*self.by, NONE, NONE)[:MOST_DIMENSIONS]
        return {
            "from": days.start,
            "to": days.end,
            "tz": days.zone.key,
            "first": first.kind,
            "first_label": first.label,
            "second": second.kind,
            "second_label": second.label,
            **{name: list(self.filters.get(name, ())) for name in FILTERS},
            "label_names": list(self.labels),
            "label_values": list(self.labels.values()),
        }


NONE = Dimension("")


def question_of(asked: UsageAsked, now: int) -> Question:
    """Return the question, asked at that time (UTC ms); raise `InvalidRequest` for one that cannot be."""
    days = _days(asked, now)
    return Question(
        days=days,
        by=tuple(_suited(Dimension.parse(text), days) for text in asked.by),
        filters={name: getattr(asked, name) for name in FILTERS},
        labels=dict(map(label_of, asked.label)),
        top=asked.top,
    )


def _suited(dimension: Dimension, days: Days) -> Dimension:
    if dimension.kind != TIME:
        return dimension
    return Dimension(next((kind for kind, most in LONGEST.items() if len(days.all()) <= most), "month"))


def _days(asked: UsageAsked, now: int) -> Days:
    zone = zone_of(asked.tz)
    last = asked.to or today(now, zone)
    return Days(asked.from_ or last - timedelta(days=PERIOD_DAYS[asked.period] - 1), last, zone)


def label_of(text: str) -> tuple[str, str]:
    """Read NAME=VALUE, or raise `InvalidRequest`."""
    name, given, value = text.partition("=")
    if not name or not given:
        raise InvalidRequest(f"label: '{text[:64]}' is not NAME=VALUE")
    return name, value
