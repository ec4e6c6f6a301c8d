"""How complete an answer is: what was read, what of it has ended, and what is waited for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from analytics.database import Database
from analytics.hours import stamp
from analytics.question import Question
from common.contracts.completeness_v1 import Completeness

CALL_MS = 600_000
"""The runner's longest call to a provider, unless it is set otherwise (`CALL_SECONDS`)."""

NEVER = 2**62
"""Later than any time, in UTC ms."""


class Seen(NamedTuple):
    """A look at what is stored, counted and waited for. It comes before the figures: those can only hold more.

    Times in UTC ms, 0 before the first look. `in_flight` and `lost` are of the runs that no rollup was asked for.
    """

    read_up_to: int
    complete_up_to: int
    in_flight: int = 0
    lost: int = 0

    def completeness(self, sums: Mapping[str, Any], not_filtered: Sequence[str] = ()) -> Completeness:
        """Return what to say beside an answer; `sums` are over runs whatever those filters say."""
        in_flight, lost = self.in_flight + sums["in_flight"], self.lost + sums["lost"]
        return Completeness(
            read_up_to=self.read_up_to or None,
            complete_up_to=self.complete_up_to or None,
            accepted=sums["runs"] + in_flight + lost,
            finished=sums["runs"],
            in_flight=in_flight,
            lost=lost,
            repeated=sums["executions"] - sums["runs"],
            unpriced=sums["unpriced"],
            not_filtered=list(not_filtered),
        )


class Reading:
    """Looks, for one workspace at a time.

    `stored` tells how far the topics are stored, in UTC ms; a call to a provider takes `call_ms` at most.
    """

    def __init__(self, database: Database, stored: Callable[[], int], call_ms: int, clock: Callable[[], int]) -> None:
        self._database = database
        self._stored = stored
        self._call_ms = call_ms
        self._clock = clock

    def lost_before(self) -> int:
        """Return the deadline (UTC ms) up to which a run that has not ended is lost."""
        return self._clock() - self._call_ms

    async def look(self, workspace: UUID, question: Question | None = None) -> Seen:
        """Return how far the figures go that answer this question; without one, those of the rollups."""
        stored = self._stored()
        [row] = await self._database.rows("counted", workspace=workspace, lost_before=self.lost_before(), never=NEVER)
        counted = min(stored, row["since"] or stored)
        complete = min(counted, row["oldest"] or counted)
        if question is None or question.source() != "runs":
            return Seen(counted, complete)
        return Seen(stored, complete, **await self._waiting(workspace, question))

    async def _waiting(self, workspace: UUID, question: Question) -> dict[str, int]:
        """Return how many runs have not ended, from the runs themselves."""
        asked = {"workspace": workspace, **question.parameters(question.days)}
        hours = [stamp(row["at"]) for row in await self._database.rows("waiting_hours", **asked)]
        if not hours:
            return {}
        [row] = await self._database.rows("waiting", hours=hours, lost_before=self.lost_before(), **asked)
        return row
