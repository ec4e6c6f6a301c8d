"""What runs used and cost: any days in any time zone, by one or two dimensions, of those that pass a filter."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from analytics.calendar import Days
from analytics.counted import Counted
from analytics.database import Database
from analytics.hours import iso
from analytics.money import mean
from analytics.question import Question, question_of
from analytics.sums import Sums, add, percent, zeros
from common.contracts.usage_v1 import Figures, Group, Usage, UsageAsked
from common.errors import InvalidRequest
from common.ids import now_ms

MOST_GROUPS = 100_000
"""More than that is no answer that anybody reads, and takes memory here."""

TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
NOTHING = zeros(
    ("runs", "executions", "succeeded", "failed", "unpriced", "repeated_unpriced", "latency_ms", *TOKENS),
    ("cost", "repeated_cost"),
)

Rows = list[dict[str, Any]]
Values = tuple[str | None, ...]
"""One value of each dimension; None where it is not told apart."""


class Usages:
    """Answers for one workspace at a time. `read_up_to` tells how far the topics are stored, in UTC ms."""

    def __init__(self, database: Database, read_up_to: Callable[[], int], clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._read_up_to = read_up_to
        self._counted = Counted(database, read_up_to)
        self._clock = clock

    async def answer(self, workspace: UUID, asked: UsageAsked) -> Usage:
        """Return what was asked for."""
        return await self.usage(workspace, question_of(asked, self._clock()), compare=asked.compare)

    async def usage(self, workspace: UUID, question: Question, *, compare: bool = False) -> Usage:
        """Return the figures of each group and of all of them, and those of as many days before."""
        source = question.source()
        # First: what is stored or counted meanwhile can only be more.
        up_to = self._read_up_to() if source == "runs" else await self._counted.up_to(workspace)
        rows = await self._rows(workspace, question, question.days)
        before = await self._rows(workspace, question, question.days.before()) if compare else None
        by_name = _by_name(rows, question)
        groups = _told_apart(by_name, question)
        return Usage(
            start=str(question.days.first),
            end=str(question.days.last),
            time_zone=question.days.zone.key,
            source=source,
            by=[dimension.name for dimension in question.by],
            groups=[_group(question, values, sums) for values, sums in _sorted(groups, question)],
            values=len(by_name),
            totals=figures(add(rows, NOTHING)),
            previous=None if before is None else figures(add(before, NOTHING)),
            read_up_to=iso(up_to) if up_to else None,
        )

    async def _rows(self, workspace: UUID, question: Question, days: Days) -> Rows:
        query = f"usage_from_{question.source()}"
        asked = {"workspace": workspace, "limit": MOST_GROUPS + 1, **question.parameters(days)}
        rows = await self._database.rows(query, **asked)
        if len(rows) > MOST_GROUPS:
            raise InvalidRequest(f"by: more than {MOST_GROUPS:,} groups; ask for fewer days, or filter")
        return rows


def _values(row: Mapping[str, Any], question: Question) -> tuple[str, ...]:
    return (row["first"], row["second"])[: len(question.by)]


def _named(row: Mapping[str, Any], question: Question) -> tuple[str, ...]:
    """Return the row's values of the dimensions besides time."""
    pairs = zip(question.by, _values(row, question), strict=True)
    return tuple(value for dimension, value in pairs if not dimension.is_time)


def _by_name(rows: Rows, question: Question) -> dict[tuple[str, ...], Rows]:
    by_name: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        by_name.setdefault(_named(row, question), []).append(row)
    return by_name


def _told_apart(by_name: Mapping[tuple[str, ...], Rows], question: Question) -> dict[Values, Sums]:
    """Return the sums of each group: the costliest values by name, the others of each time together."""
    costliest = sorted(by_name, key=lambda name: (-add(by_name[name], NOTHING)["cost"], name))[: question.top]
    kept = set(costliest)
    groups: dict[Values, Rows] = {}
    for name, of_name in by_name.items():
        for row in of_name:
            groups.setdefault(_place(row, question, told=name in kept), []).append(row)
    return {values: add(of_group, NOTHING) for values, of_group in groups.items()}


def _place(row: Mapping[str, Any], question: Question, *, told: bool) -> Values:
    pairs = zip(question.by, _values(row, question), strict=True)
    return tuple(value if told or dimension.is_time else None for dimension, value in pairs)


def _sorted(groups: Mapping[Values, Sums], question: Question) -> Iterable[tuple[Values, Sums]]:
    """Times in their order, then the costliest first, and at the end those that are not told apart."""

    def order(group: tuple[Values, Sums]) -> tuple[Any, ...]:
        values, sums = group
        pairs = list(zip(question.by, values, strict=True))
        times = tuple(value for dimension, value in pairs if dimension.is_time)
        names = tuple(value or "" for dimension, value in pairs if not dimension.is_time)
        return times, None in values, -sums["cost"], names

    return sorted(groups.items(), key=order)


def _group(question: Question, values: Values, sums: Sums) -> Group:
    names = [dimension.name for dimension in question.by]
    return Group(by=dict(zip(names, values, strict=True)), **_figures(sums))


def figures(sums: Sums) -> Figures:
    """Return the sums with their means."""
    return Figures(**_figures(sums))


def _figures(sums: Sums) -> dict[str, Any]:
    runs, succeeded = sums["runs"], sums["succeeded"]
    same = ("runs", "succeeded", "failed", "cost", "repeated_cost")
    return {
        **{name: sums[name] for name in (*same, *TOKENS)},
        "success_rate": percent(succeeded, runs),
        "avg_cost": mean(sums["cost"], runs) if runs else None,
        "unpriced_runs": sums["unpriced"],
        "repeated_executions": sums["executions"] - runs,
        "unpriced_repeats": sums["repeated_unpriced"],
        "total_tokens": sums["input_tokens"] + sums["output_tokens"],
        "avg_latency": sums["latency_ms"] / succeeded if succeeded else None,
    }
