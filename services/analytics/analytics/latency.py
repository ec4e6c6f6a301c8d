"""How long runs took: percentiles, from the runs themselves, since percentiles do not add up."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from analytics.database import Database
from analytics.hours import iso
from analytics.question import Question, question_of
from analytics.usage import Usages
from common.contracts.usage_v1 import Latency, LatencyGroup, UsageAsked
from common.ids import now_ms

PERCENTILES = ("p50", "p90", "p95", "p99")


class Latencies:
    """Answers for one workspace at a time."""

    def __init__(self, database: Database, usages: Usages, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._usages = usages
        self._clock = clock

    async def answer(self, workspace: UUID, asked: UsageAsked) -> Latency:
        """Return the percentiles of the `top` groups with most runs."""
        question = question_of(asked, self._clock())
        parameters = question.parameters(question.days)
        completeness = await self._usages.completeness(workspace, question)  # first: what follows can only hold more
        rows = await self._database.rows("latency", workspace=workspace, limit=question.top, **parameters)
        up_to = completeness.read_up_to
        return Latency(
            start=str(question.days.first),
            end=str(question.days.last),
            time_zone=question.days.zone.key,
            by=[dimension.name for dimension in question.by],
            groups=[_group(question, row) for row in rows],
            read_up_to=None if up_to is None else iso(up_to),
            completeness=completeness,
        )


def _group(question: Question, row: dict[str, Any]) -> LatencyGroup:
    names = [dimension.name for dimension in question.by]
    values = (row["first"], row["second"])[: len(names)]
    return LatencyGroup(
        by=dict(zip(names, values, strict=True)),
        runs=row["runs"],
        shortest=row["shortest"],
        longest=row["longest"],
        **dict(zip(PERCENTILES, map(int, row["percentiles"]), strict=True)),
    )
