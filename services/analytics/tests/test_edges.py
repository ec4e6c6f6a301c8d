"""Days of 23 and 25 hours, ends of months, leap days, nothing, one run, and what comes late: exact."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from analytics.calendar import Days
from analytics.clickhouse import ClickHouse
from analytics.ingest import Refused
from analytics.latency import Latencies
from analytics.overview import Overviews
from analytics.product import Products
from analytics.question import question_of
from analytics.usage import Usages
from common.contracts.event import Event
from common.contracts.runs_v1 import Cost, RunCompleted
from common.contracts.topics import DAY_MS
from common.contracts.usage_v1 import Usage, UsageAsked
from common.ids import new_id, now_ms

Make = Callable[..., RunCompleted]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]

HOUR_MS = 3_600_000

EDGES = [
    ("Europe/Berlin", date(2026, 3, 29), 23, "hours"),
    ("Europe/Berlin", date(2026, 10, 25), 25, "hours"),
    ("America/New_York", date(2026, 11, 1), 25, "hours"),
    ("Australia/Lord_Howe", date(2026, 4, 5), 24.5, "runs"),  # its clocks go back by half an hour
    ("Asia/Kolkata", date(2026, 2, 28), 24, "runs"),
    ("America/Havana", date(2026, 3, 8), 23, "hours"),  # the clocks skip midnight itself
    ("Pacific/Apia", date(2011, 12, 31), 24, "hours"),  # the day before it never was
    ("UTC", date(2028, 2, 29), 24, "days"),
    ("UTC", date(2027, 2, 28), 24, "days"),
    ("UTC", date(2026, 12, 31), 24, "days"),
]


@pytest.fixture
def usages(database: ClickHouse) -> Usages:
    return Usages(database, now_ms)


def _around(day: Days) -> list[int]:
    """Return times in UTC ms: every half hour of the day, its first and last millisecond, and those next to them."""
    start, end = day.start * 1000, day.end * 1000
    return [start - 1, *range(start, end, HOUR_MS // 2), end - 1, end]


def _by_hand(times: list[int], zone: ZoneInfo, name: Callable[[datetime], str], days: Days) -> dict[str, int]:
    moments = [datetime.fromtimestamp(at / 1000, UTC).astimezone(zone) for at in times]
    return Counter(name(at) for at in moments if days.first <= at.date() <= days.last)


def _monday(at: datetime) -> str:
    return str(at.date() - timedelta(days=at.weekday()))


NAMES: dict[str, Callable[[datetime], str]] = {
    "hour": lambda at: f"{at.astimezone(UTC):%Y-%m-%dT%H:00:00Z}",
    "day": lambda at: str(at.date()),
    "week": _monday,
    "month": lambda at: f"{at:%Y-%m}",
}


async def test_a_day_at_an_edge_holds_the_runs_of_its_hours(usages: Usages, completed: Make, count: Store) -> None:
    workspaces = {edge: new_id() for edge in EDGES}
    runs = [
        completed(workspace_id=workspace, accepted_at=at)
        for (zone, day, *_), workspace in workspaces.items()
        for at in _around(Days(day, day, ZoneInfo(zone)))
    ]
    assert await count(runs) == []
    for edge, workspace in workspaces.items():
        zone, day, hours, source = edge
        itself = Days(day, day, ZoneInfo(zone))
        assert (itself.end - itself.start) / 3600 == hours, edge
        for reach in (timedelta(0), timedelta(days=1)):
            days = Days(day - reach, day + reach, ZoneInfo(zone))
            times = _around(itself)
            for by, name in NAMES.items():
                answer = await _ask(usages, workspace, days, by)
                found = {str(group.by[by]): group.runs for group in answer.groups}
                assert found == _by_hand(times, days.zone, name, days), (edge, by)
                assert answer.source == ("hours" if by == "hour" and source == "days" else source)
                assert set(found) <= set(answer.times), (edge, by)
                assert answer.times == sorted(set(answer.times))
        inside = (await _ask(usages, workspace, itself, "day")).totals
        assert (inside.runs, inside.cost) == (len(times) - 2, Decimal(len(times) - 2) / 1000), edge


async def _ask(usages: Usages, workspace: UUID, days: Days, by: str) -> Usage:
    asked = {"from": days.first, "to": days.last, "tz": days.zone.key, "by": [by]}
    return await usages.answer(workspace, UsageAsked.model_validate(asked))


async def test_nothing_is_zeros_everywhere(database: ClickHouse, usages: Usages, workspace: UUID) -> None:
    answer = await usages.answer(workspace, UsageAsked(by=["time"], period="7d", compare=True))
    assert (answer.groups, len(answer.times), answer.totals.cost) == ([], 7, Decimal(0))
    assert answer.previous
    assert answer.previous.runs == 0
    assert answer.completeness.model_dump(exclude={"read_up_to", "complete_up_to"}) == {
        **dict.fromkeys(("accepted", "finished", "in_flight", "lost", "repeated", "unpriced"), 0),
        "not_filtered": [],
    }
    assert answer.completeness.complete_up_to == answer.completeness.read_up_to
    product = await Products(database, usages).answer(workspace, "7d")
    assert (product.runs, product.users, product.cost_per_user, product.models) == (0, 0, None, [])
    assert [day.runs for day in product.days] == [0] * 7
    assert (await Latencies(database, usages).answer(workspace, UsageAsked())).groups == []


async def test_one_run_is_every_mean_and_percentile(
    database: ClickHouse, usages: Usages, completed: Make, count: Store, workspace: UUID
) -> None:
    await count([completed(user="ada", latency_ms=777)])
    answer = await usages.answer(workspace, UsageAsked(by=["time"], compare=True))
    [group] = answer.groups
    assert (group.runs, group.avg_cost, group.avg_latency, group.success_rate) == (1, Decimal("0.001"), 777, 100)
    [latency] = (await Latencies(database, usages).answer(workspace, UsageAsked())).groups
    assert {latency.shortest, latency.p50, latency.p90, latency.p95, latency.p99, latency.longest} == {777}
    product = await Products(database, usages).answer(workspace, "30d")
    assert (product.runs, product.users, product.cost_per_user) == (1, 1, Decimal("0.001"))
    assert product.runs_a_day == pytest.approx(1 / 30)


async def test_what_comes_late_changes_the_day_it_belongs_to(
    database: ClickHouse, usages: Usages, completed: Make, count: Store, workspace: UUID
) -> None:
    at = now_ms() - 40 * DAY_MS
    day = datetime.fromtimestamp(at / 1000, UTC).date()
    await count([completed(accepted_at=at)])
    late = [completed(accepted_at=at, completed_at=now_ms()) for _ in range(3)]
    await count(late)
    await count([late[0].model_copy(update={"execution_id": new_id()})])
    overview = await Overviews(database, now_ms).overview(workspace, "90d")
    assert {row.date: row.runs for row in overview.time_series if row.runs} == {str(day): 4}
    assert (overview.overview.total_cost, overview.overview.repeated_executions) == (Decimal("0.005"), 1)
    for asked in ({"by": ["day"]}, {"by": ["day"], "user": [""]}):
        answer = await usages.answer(workspace, UsageAsked(period="90d", **asked))
        assert [(group.by["day"], group.runs) for group in answer.groups] == [(str(day), 4)]


async def test_use_of_the_product(
    database: ClickHouse, usages: Usages, completed: Make, count: Store, workspace: UUID
) -> None:
    def priced(**fields: object) -> RunCompleted:
        return completed(**fields, cost=Cost(priced=True, total=Decimal("0.000000000000000001")))

    yesterday = now_ms() - DAY_MS
    runs = [
        *(priced(user="ada", model="m0") for _ in range(3)),
        priced(user="bob", accepted_at=yesterday, model="m1"),
        priced(user="ada", accepted_at=yesterday, model="m1", provider="other"),
        priced(model="m0"),
    ]
    await count([*runs, runs[0].model_copy(update={"execution_id": new_id()})])
    product = await Products(database, usages).answer(workspace, "7d")
    assert (product.runs, product.users, product.cost) == (6, 2, Decimal("0.000000000000000007"))
    assert product.cost_without_user == Decimal("0.000000000000000001")
    assert product.cost_per_user == Decimal("0.000000000000000003")
    assert [(day.runs, day.users) for day in product.days[-3:]] == [(0, 0), (2, 2), (4, 1)]
    last, before = product.days[-1].date, product.days[-2].date
    used = {(m.provider, m.model): (m.runs, m.first_day, m.last_day) for m in product.models}
    assert used == {
        ("openai", "m0"): (4, last, last),
        ("openai", "m1"): (1, before, before),
        ("other", "m1"): (1, before, before),
    }
    assert product.completeness.repeated == 1


@pytest.mark.parametrize(
    ("days", "bucket"), [(1, "hour"), (2, "hour"), (3, "day"), (92, "day"), (93, "week"), (731, "week"), (732, "month")]
)
def test_a_series_is_by_what_suits_its_days(days: int, bucket: str) -> None:
    last = date(2026, 11, 24)
    asked = {"from": last - timedelta(days=days - 1), "to": last, "by": ["time", "model"]}
    question = question_of(UsageAsked.model_validate(asked), now_ms())
    assert [dimension.name for dimension in question.by] == [bucket, "model"]
    assert question.times()[-1] == {"hour": f"{last}T23:00:00Z", "day": str(last), "week": "2026-11-23"}.get(
        bucket, "2026-11"
    )


async def test_groups_are_compared_with_themselves_before(
    usages: Usages, completed: Make, count: Store, workspace: UUID
) -> None:
    now = now_ms()
    before = now - 7 * DAY_MS
    models = [("a", now), ("a", now), ("b", now), ("a", before), ("c", before), ("c", before)]
    await count([completed(model=model, accepted_at=at) for model, at in models])
    answer = await usages.answer(workspace, UsageAsked(period="7d", by=["model"], compare=True))
    previous = {group.by["model"]: group.previous and group.previous.runs for group in answer.groups}
    assert previous == {"a": 1, "b": 0}
    assert answer.previous
    assert answer.previous.runs == 3
    top = await usages.answer(workspace, UsageAsked(period="7d", by=["model"], compare=True, top=1))
    assert {group.by["model"]: group.previous and group.previous.runs for group in top.groups} == {"a": 1, None: 2}
    series = await usages.answer(workspace, UsageAsked(period="7d", by=["day"], compare=True))
    assert [group.previous for group in series.groups] == [None]
