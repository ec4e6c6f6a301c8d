"""What can be asked of usage: days, dimensions, filters; and which table knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from analytics.calendar import Days, today, zone_of
from common.contracts.answers_v1 import PERIOD_DAYS
from common.contracts.usage_v1 import Source, UsageAsked
from common.errors import InvalidRequest

TIMES = ("hour", "day", "month")
ROLLED_UP = ("model", "provider", "key")
"""What the rollups know besides the time."""

FROM_RUNS = ("prompt", "user", "batch", "status", "tier", "error")
FILTERS = (*ROLLED_UP, *FROM_RUNS)
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
        if kind in DIMENSIONS and not label:
            return cls(kind)
        if kind == LABEL and label:
            return cls(kind, label)
        raise InvalidRequest(f"by: '{text[:64]}' is unknown; allowed: {', '.join(DIMENSIONS)}, {LABEL}:NAME")

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
    return Question(
        days=_days(asked, now),
        by=tuple(map(Dimension.parse, asked.by)),
        filters={name: getattr(asked, name) for name in FILTERS},
        labels=dict(map(label_of, asked.label)),
        top=asked.top,
    )


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
