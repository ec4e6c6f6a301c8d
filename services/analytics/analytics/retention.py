"""How long things are kept: texts by their days, runs by whole months, what they add up to for ever."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from analytics.database import Database
from analytics.hours import date_of
from analytics.question import question_of
from common.contracts.usage_v1 import UsageAsked
from common.errors import InvalidRequest
from common.ids import now_ms

OF_RUNS = ("runs", "accepted", "batch_runs", "repricings", "outcomes")

SHORTEST_DAYS = 31
"""Runs may be read from Kafka again for 14 days, and be accepted 8 days before they were appended: as long as that can
change an hour, all of the hour is there to count it from."""


async def retain(database: Database, text_days: int, run_days: int | None) -> None:
    """Let the engine drop what is older, from now on; where nothing changed, do nothing."""
    kept = {row["table"]: row["days"] for row in await database.rows("retained")}
    if kept.get("texts") != text_days:
        await database.execute("retain_texts", days=text_days)
    for table in OF_RUNS:
        if run_days is None and table in kept:
            await database.execute("retain_for_ever", table=table)
        elif run_days is not None and kept.get(table) != run_days:
            await database.execute("retain_runs", table=table, days=run_days)


@dataclass(frozen=True)
class Kept:
    """Knows since when runs are kept; `run_days` None is for ever."""

    run_days: int | None
    clock: Callable[[], int] = now_ms

    def check(self, asked: UsageAsked, *, of_runs: bool = False) -> None:
        """Raise `InvalidRequest` where what was asked needs runs that are gone: a part would pass for the whole.

        `of_runs`: only runs can answer it, whatever is asked.
        """
        question = question_of(asked, self.clock())
        if self.run_days is None or not (of_runs or question.source() == "runs"):
            return
        since = (date_of(self.clock()) - timedelta(days=self.run_days)).replace(day=1)
        first = question.days.before().first if asked.compare else question.days.first
        if first < since:
            raise InvalidRequest(
                f"from: single runs are kept since {since}; ask from then on, or for time, model, provider and key"
                " alone, in a time zone on whole hours"
            )
