"""Usage by any dimensions: rollups, runs and an independent sum agree to the last digit."""

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics.calendar import Days, zone_of
from analytics.clickhouse import ClickHouse
from analytics.completeness import CALL_MS
from analytics.ingest import ACCEPTED, Refused
from analytics.latency import Latencies
from analytics.outcomes import Outcomes
from analytics.question import Dimension, Question, question_of
from analytics.runs import Runs
from analytics.sealer import Sealer
from analytics.usage import Usages
from common.contracts.event import Event
from common.contracts.outcomes_v1 import OutcomeGiven
from common.contracts.runs_v1 import Cost, RunCompleted, RunError, RunRequested, Usage
from common.contracts.usage_v1 import Figures, Group, UsageAsked
from common.contracts.usage_v1 import Usage as Answer
from common.errors import InvalidRequest
from common.ids import new_id

Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]

FIRST, LAST = date(2026, 10, 20), date(2026, 11, 5)
"""With the end of summer time in Berlin (25 October) and in New York (1 November), and the end of a month."""

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Auckland")
KEYS = [UUID(int=n) for n in (1, 2)]
BEGIN = datetime(2026, 10, 19, tzinfo=UTC)
NOW = round(datetime(2026, 11, 12, 9, tzinfo=UTC).timestamp() * 1000)
LOST_BEFORE = NOW - CALL_MS


def _runs(completed: Make, seed: int, count: int = 400) -> list[RunCompleted]:
    draw = random.Random(seed)
    runs = [
        completed(
            accepted_at=round(BEGIN.timestamp() * 1000) + draw.randrange(19 * 86_400_000),
            completed_at=round(BEGIN.timestamp() * 1000) + draw.randrange(20 * 86_400_000),
            model=draw.choice(["gpt-4", "gpt-4o-mini", "o5"]),
            provider=draw.choice(["openai", "other"]),
            key_id=draw.choice(KEYS),
            prompt_id=draw.choice(["greeting", "summary", None]),
            user=draw.choice(["ada", "bob", ""]),
            batch_id=draw.choice(["batch_1", None]),
            labels=draw.choice([{"team": "red"}, {"team": "blue", "stage": "test"}, {}]),
            service_tier=draw.choice(["default", "flex", None]),
            status=draw.choice(["succeeded", "succeeded", "failed", "expired"]),
            usage=Usage(input=draw.randrange(2**30), output=draw.randrange(2**30), cached=draw.randrange(9)),
            cost=draw.choice([Cost(priced=False), _cost(draw)]),
            error=draw.choice([None, RunError(code="rate_limited", message="later")]),
            latency_ms=draw.randrange(60_000),
        )
        for _ in range(count)
    ]
    again = [
        run.model_copy(update={"execution_id": new_id(), "completed_at": run.completed_at + 1, "model": "o5"})
        for run in runs[::20]
    ]
    return [*runs, *again]


def _cost(draw: random.Random) -> Cost:
    saved = draw.choice([None, Decimal(draw.randrange(-(10**19), 10**20)).scaleb(-18)])
    return Cost(priced=True, total=Decimal(draw.randrange(10**21)).scaleb(-18), cache_savings=saved)


def _requests(requested: Request, runs: list[RunCompleted], seed: int) -> list[RunRequested]:
    """Draw the requests of these runs, and those of others that did not end; a third of those is lost."""
    draw = random.Random(seed)
    copied = {"run_id", "accepted_at", "model", "provider", "prompt_id", "user", "batch_id", "labels"}
    asked = [requested(**run.model_dump(include=copied)) for run in runs]
    again = [draw.choice(asked).model_dump() for _ in range(90)]
    late = [LOST_BEFORE - draw.randrange(60_000, 2**30), NOW - draw.randrange(60_000), NOW + draw.randrange(2**30)]
    return asked + [RunRequested(**fields | {"run_id": new_id(), "deadline": draw.choice(late)}) for fields in again]


def _outcomes(runs: list[RunCompleted], seed: int) -> dict[UUID, OutcomeGiven]:
    """Draw what is said of an eighth of the runs."""
    draw = random.Random(seed)
    said = [
        lambda: OutcomeGiven(success=draw.random() < 0.6),
        lambda: OutcomeGiven(score=Decimal(draw.randrange(10**18)).scaleb(-18), note="so so"),
        lambda: OutcomeGiven(success=True, score=Decimal(1)),
        lambda: OutcomeGiven(note="a note alone rates nothing"),
    ]
    return {run.run_id: draw.choice(said)() for run in draw.sample(runs, len(runs) // 8)}


@dataclass(frozen=True)
class Told:
    """What the books hold."""

    runs: list[RunCompleted]
    requests: list[RunRequested]
    outcomes: dict[UUID, OutcomeGiven]


@pytest.fixture
async def told(completed: Make, requested: Request, count: Store, database: ClickHouse, sealer: Sealer) -> Told:
    """Runs that are stored and counted, with what is said of them, and others that did not end."""
    runs = _runs(completed, seed=11)
    told = Told(runs, _requests(requested, runs, seed=12), _outcomes(runs, seed=13))
    await database.insert(ACCEPTED, [_accepted_row(request) for request in told.requests])
    assert await count(runs) == []
    outcomes = Outcomes(database, Runs(database, EverythingRead()))
    for n, (run_id, said) in enumerate(told.outcomes.items()):
        if n % 5 == 0:
            await outcomes.record(runs[0].workspace_id, run_id, OutcomeGiven(success=False, score=Decimal("0.5")))
        await outcomes.record(runs[0].workspace_id, run_id, said)
    while await sealer.seal():
        pass
    return told


def _accepted_row(request: RunRequested) -> bytes:
    return request.model_dump_json(include=set(ACCEPTED.columns), exclude_none=True).encode()


class EverythingRead:
    async def passes(self, time: int, within: float) -> bool:
        return True


@pytest.fixture
def usages(database: ClickHouse) -> Usages:
    return Usages(database, lambda: 1, clock=lambda: NOW)


def _value(run: RunCompleted | RunRequested, dimension: Dimension, zone: ZoneInfo) -> str:
    at = datetime.fromtimestamp(run.accepted_at / 1000, UTC)
    ended = {} if isinstance(run, RunRequested) else _ended(run)
    return {
        "hour": f"{at:%Y-%m-%dT%H:00:00Z}",
        "day": str(at.astimezone(zone).date()),
        "month": f"{at.astimezone(zone):%Y-%m}",
        "week": str(date.fromisocalendar(*at.astimezone(zone).isocalendar()[:2], 1)),
        "model": run.model,
        "provider": run.provider,
        "prompt": run.prompt_id or "",
        "user": run.user,
        "batch": run.batch_id or "",
        "label": run.labels.get(dimension.label, ""),
        **ended,
    }[dimension.kind]


def _ended(run: RunCompleted) -> dict[str, str]:
    return {
        "key": str(run.key_id),
        "status": run.status,
        "tier": run.service_tier or "",
        "error": run.error.code if run.error else "",
    }


def _expected(told: Told, question: Question, days: Days) -> dict[tuple[str, ...], Figures]:
    """Sum by hand: the first execution of a run counts it, all of them cost."""
    ordered = sorted(told.runs, key=lambda run: (run.completed_at, run.execution_id.int))
    first: dict[UUID, UUID] = {}
    for run in ordered:
        first.setdefault(run.run_id, run.execution_id)
    unpriced = {run.run_id for run in ordered if not run.cost.priced}
    groups: dict[tuple[str, ...], list[RunCompleted]] = {}
    for run in ordered:
        if _passes(run, question, days):
            groups.setdefault(tuple(_value(run, d, days.zone) for d in question.by), []).append(run)
    return {values: _figures(of, first, unpriced, told.outcomes) for values, of in groups.items()}


def _passes(run: RunCompleted | RunRequested, question: Question, days: Days) -> bool:
    day = datetime.fromtimestamp(run.accepted_at / 1000, days.zone).date()
    filters = ((name, wanted) for name, wanted in question.filters.items() if wanted)
    passes = all(_value(run, Dimension(name), days.zone) in wanted for name, wanted in filters)
    labelled = all(run.labels.get(name) == value for name, value in question.labels.items())
    return days.first <= day <= days.last and passes and labelled


def _complete(told: Told, question: Question) -> dict[str, Any]:
    """Count by hand what has ended and what has not, without the filters that only what has ended knows."""
    asked = replace(question, by=(), filters={n: w for n, w in question.filters.items() if n in ACCEPTED_KNOWS})
    figures = _expected(told, asked, asked.days).get((), NOTHING_AT_ALL)
    ended = {run.run_id for run in told.runs}
    waiting = [r for r in told.requests if r.run_id not in ended and _passes(r, asked, asked.days)]
    lost = sum(-(-r.deadline // 60_000) * 60_000 <= LOST_BEFORE for r in waiting)
    return {
        "accepted": figures.runs + len(waiting),
        "finished": figures.runs,
        "in_flight": len(waiting) - lost,
        "lost": lost,
        "repeated": figures.repeated_executions,
        "unpriced": figures.unpriced_runs,
        "not_filtered": sorted(n for n, wanted in question.filters.items() if wanted and n not in ACCEPTED_KNOWS),
    }


ACCEPTED_KNOWS = ("model", "provider", "prompt", "user", "batch")


def _figures(
    runs: list[RunCompleted], first: dict[UUID, UUID], unpriced: set[UUID], outcomes: dict[UUID, OutcomeGiven]
) -> Figures:
    firsts = [run for run in runs if first[run.run_id] == run.execution_id]
    succeeded = [run for run in firsts if run.status == "succeeded"]
    repeats = [run for run in runs if first[run.run_id] != run.execution_id]
    with localcontext(prec=200):
        cost = sum((run.cost.total or Decimal(0) for run in runs), Decimal(0))
        repeated = sum((run.cost.total or Decimal(0) for run in repeats), Decimal(0))
        saved = sum((run.cost.cache_savings or Decimal(0) for run in runs), Decimal(0))
        mean = (cost / len(firsts)).quantize(Decimal("1e-18")) if firsts else None
        said = [outcomes[run.run_id] for run in firsts if run.run_id in outcomes]
        scores = [outcome.score for outcome in said if outcome.score is not None]
        score = (sum(scores, Decimal(0)) / len(scores)).quantize(Decimal("1e-18")) if scores else None
        judged = [outcome.success for outcome in said if outcome.success is not None]
    return Figures(
        cache_savings=saved,
        rated=sum(outcome.success is not None or outcome.score is not None for outcome in said),
        good_outcomes=sum(judged),
        bad_outcomes=len(judged) - sum(judged),
        outcome_rate=100 * sum(judged) / len(judged) if judged else None,
        score=score,
        runs=len(firsts),
        succeeded=len(succeeded),
        failed=len(firsts) - len(succeeded),
        success_rate=100 * len(succeeded) / len(firsts) if firsts else None,
        cost=cost,
        avg_cost=mean,
        unpriced_runs=sum(run.run_id in unpriced for run in firsts),
        repeated_executions=len(runs) - len(firsts),
        repeated_cost=repeated,
        unpriced_repeats=sum(not run.cost.priced for run in repeats),
        input_tokens=sum(run.usage.input for run in runs),
        output_tokens=sum(run.usage.output for run in runs),
        cached_tokens=sum(run.usage.cached for run in runs),
        cache_write_tokens=0,
        reasoning_tokens=0,
        total_tokens=sum(run.usage.input + run.usage.output for run in runs),
        avg_latency=sum(run.latency_ms for run in succeeded) / len(succeeded) if succeeded else None,
    )


def _found(answer: Answer) -> dict[tuple[str | None, ...], Figures]:
    return {tuple(group.by.values()): _without_by(group) for group in answer.groups}


def _without_by(group: Group) -> Figures:
    return Figures(**group.model_dump(exclude={"by", "previous"}))


NOTHING_AT_ALL = _figures([], {}, set(), {})

DIMENSIONS = [*map(Dimension, ("hour", "day", "week", "month", "model", "provider", "key", "prompt", "user", "batch"))]
DIMENSIONS += [Dimension("status"), Dimension("tier"), Dimension("error"), Dimension("label", "team")]

QUESTIONS = st.builds(
    lambda first, length, zone, by, filters, labels: Question(
        Days(first, min(first + timedelta(days=length), LAST), ZoneInfo(zone)), tuple(by), filters, labels, top=10_000
    ),
    st.dates(FIRST, LAST),
    st.integers(0, 20),
    st.sampled_from(ZONES),
    st.lists(st.sampled_from(DIMENSIONS), max_size=2, unique=True),
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.lists(st.sampled_from(["gpt-4", "o5", "none"]), max_size=2),
            "provider": st.lists(st.sampled_from(["openai", "other"]), max_size=1),
            "key": st.lists(st.sampled_from([*map(str, KEYS)]), max_size=1),
            "user": st.lists(st.sampled_from(["ada", ""]), max_size=2),
            "prompt": st.lists(st.sampled_from(["greeting", ""]), max_size=1),
            "batch": st.lists(st.sampled_from(["batch_1"]), max_size=1),
            "tier": st.lists(st.sampled_from(["flex"]), max_size=1),
            "error": st.lists(st.sampled_from(["rate_limited"]), max_size=1),
            "status": st.lists(st.sampled_from(["failed", "succeeded"]), max_size=1),
        },
    ),
    st.sampled_from([{}, {}, {"team": "red"}, {"team": "blue", "stage": "test"}]),
)


def _same(found: dict[Any, Figures], expected: dict[Any, Figures]) -> None:
    assert found.keys() == expected.keys()
    for values, figures in expected.items():
        assert found[values] == figures, values


class FromRuns(Question):
    """A question that is put to the runs, whoever else would know."""

    def source(self) -> Any:
        return "runs"


async def test_rollups_runs_and_an_independent_sum_agree(told: Told, usages: Usages, workspace: UUID) -> None:
    sources = set()

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(QUESTIONS)
    def drawn(question: Question) -> None:
        questions.append(question)

    questions: list[Question] = []
    drawn()
    for question in questions:
        expected = _expected(told, question, question.days)
        answer = await usages.usage(workspace, question, compare=True)
        raw = await usages.usage(workspace, FromRuns(**vars(question)))
        sources.add(answer.source)
        _same(_found(answer), expected)
        _same(_found(raw), expected)
        for of in (answer, raw):
            counted = of.completeness.model_dump(exclude={"read_up_to", "complete_up_to"})
            assert {**counted, "not_filtered": sorted(of.completeness.not_filtered)} == _complete(told, question)
        whole = Question(question.days, (), question.filters, question.labels)
        _same({(): answer.totals}, _expected(told, whole, question.days) or {(): NOTHING_AT_ALL})
        before = _expected(told, whole, question.days.before()) or {(): NOTHING_AT_ALL}
        assert answer.previous is not None
        _same({(): answer.previous}, before)
    assert sources == {"days", "hours", "runs"}


@pytest.mark.parametrize(
    ("zone", "by", "filters", "source"),
    [
        ("UTC", ["model", "day"], {}, "days"),
        ("UTC", ["hour"], {}, "hours"),
        ("Africa/Abidjan", ["key"], {"provider": ["openai"]}, "days"),
        ("Europe/Berlin", ["day"], {}, "hours"),
        ("Asia/Kolkata", ["day"], {}, "runs"),
        ("UTC", ["prompt"], {}, "runs"),
        ("UTC", ["model"], {"status": ["failed"]}, "runs"),
        ("UTC", ["model"], {"status": []}, "days"),
    ],
)
def test_the_coarsest_table_that_knows_is_asked(
    zone: str, by: list[str], filters: dict[str, list[str]], source: str
) -> None:
    assert Question(Days(FIRST, LAST, ZoneInfo(zone)), tuple(map(Dimension, by)), filters).source() == source


async def test_the_costliest_are_told_apart_and_the_others_kept_together(
    told: Told, usages: Usages, workspace: UUID
) -> None:
    days = Days(FIRST, LAST, ZoneInfo("UTC"))
    every = await usages.usage(workspace, Question(days, (Dimension("model"),)))
    top = await usages.usage(workspace, Question(days, (Dimension("model"),), top=1))
    assert [group.by["model"] for group in top.groups] == [every.groups[0].by["model"], None]
    assert (top.values, every.values) == (3, 3)
    assert top.groups[0] == every.groups[0]
    assert top.groups[1].cost == sum(group.cost for group in every.groups[1:])
    assert top.totals == every.totals
    series = await usages.usage(workspace, Question(days, (Dimension("day"), Dimension("model")), top=1))
    assert [group.by["day"] for group in series.groups] == sorted(str(group.by["day"]) for group in series.groups)
    assert sum(group.runs for group in series.groups) == every.totals.runs


async def test_nothing_is_zeros_and_gaps(usages: Usages, workspace: UUID) -> None:
    answer = await usages.usage(workspace, Question(Days(FIRST, LAST, ZoneInfo("UTC")), (Dimension("model"),)))
    assert (answer.groups, answer.values) == ([], 0)
    assert (answer.totals.runs, answer.totals.cost) == (0, Decimal(0))
    assert (answer.totals.avg_cost, answer.totals.success_rate, answer.totals.avg_latency) == (None, None, None)


async def test_percentiles_are_of_the_runs_that_succeeded(told: Told, database: ClickHouse, workspace: UUID) -> None:
    asked = UsageAsked.model_validate({"from": FIRST, "to": LAST, "by": ["model"], "provider": ["openai"]})
    answer = await Latencies(database, Usages(database, lambda: 1)).answer(workspace, asked)
    days = Days(FIRST, LAST, ZoneInfo("UTC"))
    first = {run.run_id: run for run in sorted(told.runs, key=lambda run: -run.completed_at)}
    for group in answer.groups:
        latencies = sorted(
            run.latency_ms
            for run in first.values()
            if (run.model, run.provider, run.status) == (group.by["model"], "openai", "succeeded")
            and days.start * 1000 <= run.accepted_at < days.end * 1000
        )
        assert (group.runs, group.shortest, group.longest) == (len(latencies), latencies[0], latencies[-1])
        assert group.p50 in latencies
        assert sum(latency <= group.p90 for latency in latencies) / len(latencies) >= 0.9
        assert sum(latency < group.p90 for latency in latencies) / len(latencies) <= 0.9
    assert [group.runs for group in answer.groups] == sorted((group.runs for group in answer.groups), reverse=True)


def test_a_day_is_as_long_as_the_clocks_make_it() -> None:
    berlin, utc = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
    assert _hours(Days(date(2026, 10, 25), date(2026, 10, 25), berlin)) == 25
    assert _hours(Days(date(2026, 3, 29), date(2026, 3, 29), berlin)) == 23
    assert _hours(Days(date(2028, 2, 28), date(2028, 3, 1), utc)) == 72
    february = Days(date(2026, 2, 1), date(2026, 2, 28), utc)
    assert (february.before().first, february.before().last) == (date(2026, 1, 4), date(2026, 1, 31))
    assert february.before().end == february.start


def _hours(days: Days) -> float:
    return (days.end - days.start) / 3600


def test_today_is_the_day_that_it_is_there() -> None:
    late = round(datetime(2026, 6, 1, 23, 30, tzinfo=UTC).timestamp() * 1000)
    asked = {tz: question_of(UsageAsked(period="7d", tz=tz), late).days for tz in ("UTC", "Asia/Tokyo")}
    assert (asked["UTC"].first, asked["UTC"].last) == (date(2026, 5, 26), date(2026, 6, 1))
    assert asked["Asia/Tokyo"].last == date(2026, 6, 2)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tz": "Mars/Olympus"}, "tz: 'Mars/Olympus' is no time zone"),
        ({"tz": "../../etc/passwd"}, "is no time zone"),
        ({"by": ["colour"]}, "by: 'colour' is unknown; allowed: time, hour, day"),
        ({"by": ["label"]}, "by: 'label' is unknown"),
        ({"by": ["model:x"]}, "by: 'model:x' is unknown"),
        ({"label": ["team"]}, "label: 'team' is not NAME=VALUE"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from, to: a day, and the same or a later one"),
        ({"from": "1850-02-02"}, "from, to"),
    ],
)
def test_what_cannot_be_asked_is_said(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        question_of(UsageAsked(**asked), 1_800_000_000_000)


def test_every_zone_of_these_tests_is_known() -> None:
    assert [zone_of(name).key for name in ZONES] == list(ZONES)
