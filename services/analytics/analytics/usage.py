"""What runs used and cost: any days in any time zone, by one or two dimensions, of those that pass a filter."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from analytics.calendar import Days
from analytics.completeness import CALL_MS, Reading, Seen
from analytics.database import Database
from analytics.figures import NOTHING, figures, named
from analytics.hours import iso
from analytics.question import Question, question_of
from analytics.sums import Sums, add
from common.contracts.completeness_v1 import Completeness
from common.contracts.usage_v1 import Group, Usage, UsageAsked
from common.errors import InvalidRequest
from common.ids import now_ms

MOST_GROUPS = 100_000
"""More than that is no answer that anybody reads, and takes memory here."""

Rows = list[dict[str, Any]]
Name = tuple[str, ...]
"""One value of each dimension besides time."""

Values = tuple[str | None, ...]
"""One value of each dimension; None where it is not told apart."""


class Usages:
    """Answers for one workspace at a time. `stored` tells how far the topics are stored, in UTC ms."""

    def __init__(
        self, database: Database, stored: Callable[[], int], clock: Callable[[], int] = now_ms, call_ms: int = CALL_MS
    ) -> None:
        self._database = database
        self._reading = Reading(database, stored, call_ms, clock)
        self._clock = clock

    async def answer(self, workspace: UUID, asked: UsageAsked) -> Usage:
        """Return what was asked for."""
        return await self.usage(workspace, question_of(asked, self._clock()), compare=asked.compare)

    async def usage(self, workspace: UUID, question: Question, *, compare: bool = False) -> Usage:
        """Return the figures of each group and of all of them, and those of as many days before."""
        seen = await self._reading.look(workspace, question.of_accepted())
        rows = await self._rows(workspace, question, question.days)
        before = await self._rows(workspace, question, question.days.before()) if compare else None
        ended = [row for row in rows if row["executions"]]
        by_name = _by_name(ended, question)
        return Usage(
            start=str(question.days.first),
            end=str(question.days.last),
            time_zone=question.days.zone.key,
            source=question.source(),
            by=[dimension.name for dimension in question.by],
            times=question.times(),
            groups=list(_groups(by_name, before, question)),
            values=len(by_name),
            totals=figures(add(rows, NOTHING)),
            previous=None if before is None else figures(add(before, NOTHING)),
            read_up_to=iso(seen.read_up_to) if seen.read_up_to else None,
            completeness=await self._completeness(workspace, question, seen, rows),
        )

    async def completeness(self, workspace: UUID, question: Question) -> Completeness:
        """Return how complete any answer to this question is, whatever it is shared out by."""
        question = replace(question, by=())
        seen = await self._reading.look(workspace, question.of_accepted())
        return await self._completeness(workspace, question, seen, None)

    async def _completeness(self, workspace: UUID, question: Question, seen: Seen, rows: Rows | None) -> Completeness:
        """Return it from these rows, unless they leave out what is not known before a run has ended."""
        if rows is None or question.not_filtered():
            rows = await self._rows(workspace, question.of_accepted(), question.days)
        return seen.completeness(add(rows, NOTHING), question.not_filtered())

    async def _rows(self, workspace: UUID, question: Question, days: Days) -> Rows:
        query = f"usage_from_{question.source()}"
        asked = {"workspace": workspace, "limit": MOST_GROUPS + 1, **question.parameters(days)}
        rows = await self._database.rows(query, lost_before=self._reading.lost_before(), **asked)
        if len(rows) > MOST_GROUPS:
            raise InvalidRequest(f"by: more than {MOST_GROUPS:,} groups; ask for fewer days, or filter")
        return rows


def _values(row: Mapping[str, Any], question: Question) -> tuple[str, ...]:
    return (row["first"], row["second"])[: len(question.by)]


def _name(row: Mapping[str, Any], question: Question) -> Name:
    pairs = zip(question.by, _values(row, question), strict=True)
    return tuple(value for dimension, value in pairs if not dimension.is_time)


def _by_name(rows: Rows, question: Question) -> dict[Name, Rows]:
    by_name: dict[Name, Rows] = {}
    for row in rows:
        by_name.setdefault(_name(row, question), []).append(row)
    return by_name


def _groups(by_name: Mapping[Name, Rows], before: Rows | None, question: Question) -> Iterable[Group]:
    """Yield the figures of each group: the costliest values by name, the others of each time together."""
    told = _costliest(by_name, question)
    groups = _told_apart((row for of_name in by_name.values() for row in of_name), told, question)
    comparable = before is not None and not any(dimension.is_time for dimension in question.by)
    previous = _told_apart(before or (), told, question) if comparable else None
    for values, sums in _sorted(groups, question):
        earlier = None if previous is None else figures(previous.get(values, NOTHING))
        yield _group(question, values, sums).model_copy(update={"previous": earlier})


def _costliest(by_name: Mapping[Name, Rows], question: Question) -> set[Name]:
    return set(sorted(by_name, key=lambda name: (-add(by_name[name], NOTHING)["cost"], name))[: question.top])


def _told_apart(rows: Iterable[Mapping[str, Any]], told: set[Name], question: Question) -> dict[Values, Sums]:
    groups: dict[Values, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_place(row, question, told=_name(row, question) in told), []).append(row)
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
    return Group(by=dict(zip(names, values, strict=True)), **named(sums))
