"""What is said of runs is stored, shown and counted: once, whoever is killed in between."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from analytics.clickhouse import ClickHouse
from analytics.database import Table
from analytics.ingest import Ingest, Refused
from analytics.outcomes import ANNOUNCED_MS, OUTCOMES, Outcomes
from analytics.overview import Overviews
from analytics.runs import Runs
from analytics.sealer import SETTLE_MS, Sealer
from analytics.usage import Usages
from common.contracts.event import Event
from common.contracts.outcomes_v1 import OutcomeGiven
from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import REQUESTED
from common.contracts.usage_v1 import Figures, UsageAsked
from common.errors import NotFound, Unavailable
from common.ids import new_id, now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]

GOOD = OutcomeGiven(success=True)


@dataclass
class Log:
    """How far everything is read."""

    everything: bool = True

    async def passes(self, time: int, within: float) -> bool:
        return self.everything


@pytest.fixture
def runs(database: ClickHouse) -> Runs:
    return Runs(database, Log())


@pytest.fixture
def outcomes(database: ClickHouse, runs: Runs) -> Outcomes:
    return Outcomes(database, runs)


Told = Callable[..., Awaitable[Figures]]


@pytest.fixture
def told(database: ClickHouse, workspace: UUID) -> Told:
    """Answer the figures of the rollups, or of the runs that pass a filter."""

    async def told(**asked: Any) -> Figures:
        return (await Usages(database, now_ms).answer(workspace, UsageAsked(**asked))).totals

    return told


def _rated(figures: Figures) -> tuple[int, int, int, Decimal | None]:
    return figures.rated, figures.good_outcomes, figures.bad_outcomes, figures.score


async def test_an_outcome_is_shown_and_counted_by_any_dimension(
    database: ClickHouse, outcomes: Outcomes, runs: Runs, completed: Make, count: Store, told: Told, workspace: UUID
) -> None:
    good, bad, quiet = (completed(model=f"m{n}", prompt_id=f"p{n}", user=f"u{n}") for n in range(3))
    await count([good, bad, quiet])
    answer = await outcomes.record(workspace, good.run_id, OutcomeGiven(success=True, score=0.1, note="as asked"))
    await outcomes.record(workspace, bad.run_id, OutcomeGiven(success=False, score=Decimal("0.4")))
    await outcomes.record(workspace, quiet.run_id, OutcomeGiven(note="hm"))
    await count([])

    shown = (await runs.detail(workspace, good.run_id, None)).outcome
    assert shown
    assert (shown.success, shown.score, shown.note) == (True, Decimal("0.1"), "as asked")
    assert (answer.run_id, answer.recorded_at) == (str(good.run_id), shown.recorded_at)
    assert (await runs.detail(workspace, quiet.run_id, None)).outcome
    assert _rated(await told()) == (2, 1, 1, Decimal("0.25"))
    assert (await told()).outcome_rate == 50
    assert _rated(await told(user=["u0"])) == (1, 1, 0, Decimal("0.1"))
    assert _rated(await told(model=["m1"])) == (1, 0, 1, Decimal("0.4"))
    overview = await Overviews(database, now_ms).overview(workspace, "7d")
    assert (overview.overview.rated, overview.overview.score) == (2, Decimal("0.25"))
    by_model = {row.model: (row.rated, row.outcome_rate, row.score) for row in overview.model_breakdown}
    assert by_model == {"m0": (1, 100, Decimal("0.1")), "m1": (1, 0, Decimal("0.4")), "m2": (0, None, None)}
    by_prompt = {row.prompt_id: (row.good_outcomes, row.bad_outcomes) for row in overview.expensive_prompts}
    assert by_prompt == {"p0": (1, 0), "p1": (0, 1), "p2": (0, 0)}
    assert {row.success_rate for row in overview.expensive_prompts} == {100.0}


async def test_what_is_said_again_takes_the_place_of_all_that_was_said(
    outcomes: Outcomes, runs: Runs, completed: Make, count: Store, told: Told, workspace: UUID
) -> None:
    run = completed()
    await count([run])
    said = [OutcomeGiven(success=False, score=0.2), GOOD, GOOD, OutcomeGiven(score=1), OutcomeGiven(note="no")]
    expected = [(1, 0, 1, Decimal("0.2")), (1, 1, 0, None), (1, 1, 0, None), (1, 0, 0, Decimal(1)), (0, 0, 0, None)]
    for outcome, figures in zip(said, expected, strict=True):
        await outcomes.record(workspace, run.run_id, outcome)
        await count([])
        assert _rated(await told()) == _rated(await told(status=["succeeded"])) == figures
    shown = (await runs.detail(workspace, run.run_id, None)).outcome
    assert shown
    assert (shown.success, shown.score, shown.note) == (None, None, "no")


async def test_a_run_counts_its_outcome_once_and_when_it_has_ended(
    ingest: Ingest,
    as_record: AsRecord,
    outcomes: Outcomes,
    runs: Runs,
    completed: Make,
    requested: Request,
    count: Store,
    told: Told,
    workspace: UUID,
) -> None:
    asked = requested()
    await ingest.store([as_record(asked, REQUESTED.name)])
    await outcomes.record(workspace, asked.run_id, GOOD)
    await count([])
    assert _rated(await told()) == (0, 0, 0, None)
    assert (await runs.detail(workspace, asked.run_id, None)).outcome
    ended = completed(run_id=asked.run_id, accepted_at=asked.accepted_at)
    await count([ended, ended.model_copy(update={"execution_id": new_id(), "model": "o5"})])
    assert _rated(await told()) == _rated(await told(status=["succeeded"])) == (1, 1, 0, None)


async def test_a_run_that_is_not_known_has_no_outcome(database: ClickHouse, workspace: UUID) -> None:
    with pytest.raises(NotFound):
        await Outcomes(database, Runs(database, Log())).record(workspace, new_id(), GOOD)
    with pytest.raises(Unavailable, match="not read yet"):
        await Outcomes(database, Runs(database, Log(everything=False))).record(workspace, new_id(), GOOD)


async def test_another_workspace_s_run_is_not_known(
    outcomes: Outcomes, runs: Runs, completed: Make, count: Store, workspace: UUID
) -> None:
    run = completed()
    await count([run])
    with pytest.raises(NotFound):
        await outcomes.record(new_id(), run.run_id, GOOD)
    assert (await runs.detail(workspace, run.run_id, None)).outcome is None


class Killed(Exception):
    """In place of a signal: nothing after it is done."""


class Mortal:
    """The database of a process that is killed before, or right after, its nth insert."""

    def __init__(self, database: ClickHouse, inserts: int, *, after: bool) -> None:
        self.rows, self.execute = database.rows, database.execute
        self._database = database
        self._left = inserts
        self._after = after

    async def insert(self, table: Table, lines: Sequence[bytes]) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        await self._database.insert(table, lines)
        if self._left == 0:
            raise Killed


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("insert", [1, 2, 3])
async def test_killed_between_any_two_steps_it_is_counted_if_it_is_stored(
    database: ClickHouse,
    runs: Runs,
    completed: Make,
    count: Store,
    told: Told,
    workspace: UUID,
    insert: int,
    after: bool,
) -> None:
    rated, other = completed(), completed()
    await count([rated, other])
    await Outcomes(database, runs).record(workspace, rated.run_id, OutcomeGiven(success=False))
    await count([])
    mortal = Outcomes(Mortal(database, insert, after=after), runs)
    with pytest.raises(Killed):
        await mortal.record(workspace, rated.run_id, GOOD)

    await count([other])  # the same hour is counted for another reason
    later = now_ms() + ANNOUNCED_MS + SETTLE_MS + 1000
    sealer = Sealer(database, lambda: True, clock=lambda: later)
    while await sealer.seal():
        pass

    stored = insert > 2 or (insert == 2 and after)
    assert _rated(await told()) == _rated(await told(status=["succeeded"]))
    assert _rated(await told()) == ((1, 1, 0, None) if stored else (1, 0, 1, None))
    assert await database.rows("dirty_hours") == []


async def test_an_hour_that_is_counted_while_an_outcome_is_stored_is_counted_again(
    database: ClickHouse, runs: Runs, completed: Make, count: Store, told: Told, workspace: UUID
) -> None:
    run, other = completed(), completed()
    await count([run, other])

    class Slow(Mortal):
        """Is so slow to store an outcome that the hour is counted meanwhile, and dies then."""

        async def insert(self, table: Table, lines: Sequence[bytes]) -> None:
            if table == OUTCOMES:
                await count([other])
            await super().insert(table, lines)

    with pytest.raises(Killed):
        await Outcomes(Slow(database, 2, after=True), runs).record(workspace, run.run_id, GOOD)
    later = now_ms() + ANNOUNCED_MS + SETTLE_MS + 1000
    assert await Sealer(database, lambda: True, clock=lambda: later).seal() == 1
    assert _rated(await told()) == (1, 1, 0, None)


async def test_many_speak_at_once_and_the_last_one_is_heard(
    database: ClickHouse, runs: Runs, completed: Make, count: Store, told: Told, workspace: UUID
) -> None:
    run = completed()
    await count([run])
    voices = [Outcomes(database, runs) for _ in range(3)]
    await asyncio.gather(*(voice.record(workspace, run.run_id, OutcomeGiven(score=0.5)) for voice in voices))
    await voices[1].record(workspace, run.run_id, OutcomeGiven(score=0.75))
    await count([])
    assert _rated(await told()) == _rated(await told(status=["succeeded"])) == (1, 0, 0, Decimal("0.75"))


@pytest.mark.parametrize(
    "said",
    [{}, {"note": ""}, {"score": 1.01}, {"score": -0.1}, {"score": "0.5"}, {"score": True}, {"success": 1},
     {"note": "x" * 2001}, {"sucess": True}, {"score": float("nan")}],
)  # fmt: skip
def test_what_says_nothing_or_is_none_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OutcomeGiven(**said)


def test_a_score_is_the_number_as_it_is_written() -> None:
    assert OutcomeGiven.model_validate_json('{"score": 0.1}').score == Decimal("0.1")
    assert OutcomeGiven.model_validate_json('{"score": 1}').score == 1
