"""Every answer says how complete it is, whatever order records are read in."""

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import UUID

import pytest

from analytics.clickhouse import ClickHouse
from analytics.completeness import CALL_MS
from analytics.ingest import Ingest, Refused
from analytics.latency import Latencies
from analytics.overview import Overviews
from analytics.product import Products
from analytics.sealer import Sealer
from analytics.usage import Usages
from common.contracts.completeness_v1 import Completeness
from common.contracts.event import Event
from common.contracts.runs_v1 import Cost, RunCompleted, RunRequested
from common.contracts.topics import REQUESTED
from common.contracts.usage_v1 import UsageAsked
from common.ids import new_id, now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]
Asked = Callable[[], Awaitable[Completeness]]

MINUTE = 60_000


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = now_ms()

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accept(ingest: Ingest, as_record: AsRecord) -> Store:
    """Store requests as the consumer would."""

    async def accept(requests: Iterable[Event]) -> list[Refused]:
        return await ingest.store([as_record(request, REQUESTED.name) for request in requests])

    return accept


@pytest.fixture
def asked(database: ClickHouse, clock: Clock, workspace: UUID) -> Asked:
    """Ask every kind of answer; they say the same."""
    overviews, usages = (kind(database, clock, clock=clock) for kind in (Overviews, Usages))
    latencies, products = (kind(database, usages, clock=clock) for kind in (Latencies, Products))

    async def asked() -> Completeness:
        overview = await overviews.overview(workspace, "30d")
        others = [
            await usages.answer(workspace, UsageAsked(by=["model"])),
            await usages.answer(workspace, UsageAsked(by=["hour"])),
            await latencies.answer(workspace, UsageAsked()),
            await products.answer(workspace, "30d"),
        ]
        assert [answer.completeness for answer in others] == [overview.completeness] * len(others)
        # From the runs themselves: what is stored is in them before it is counted.
        raw = (await usages.answer(workspace, UsageAsked(user=["", "ada"]))).completeness
        assert raw.model_copy(update={"read_up_to": overview.completeness.read_up_to}) == overview.completeness
        return overview.completeness

    return asked


def _counts(told: Completeness) -> tuple[int, ...]:
    return told.accepted, told.finished, told.in_flight, told.lost, told.repeated, told.unpriced


async def test_a_run_is_in_flight_until_it_ends(
    accept: Store, count: Store, asked: Asked, completed: Make, requested: Request, clock: Clock
) -> None:
    first, second = (requested(accepted_at=clock.now - ago, deadline=clock.now + MINUTE) for ago in (5_000, 3_000))
    await accept([first, second])
    await count([])
    told = await asked()
    assert _counts(told) == (2, 0, 2, 0, 0, 0)
    assert (told.read_up_to, told.complete_up_to) == (clock.now, first.accepted_at)

    await count([completed(run_id=first.run_id, accepted_at=first.accepted_at)])
    told = await asked()
    assert _counts(told) == (2, 1, 1, 0, 0, 0)
    assert told.complete_up_to == second.accepted_at

    unpriced = completed(run_id=second.run_id, accepted_at=second.accepted_at, cost=Cost(priced=False))
    await count([unpriced, unpriced.model_copy(update={"execution_id": new_id()})])
    told = await asked()
    assert _counts(told) == (2, 2, 0, 0, 1, 1)
    assert told.complete_up_to == told.read_up_to


async def test_lost_is_what_has_not_ended_a_call_after_its_deadline(
    accept: Store, count: Store, asked: Asked, completed: Make, requested: Request, clock: Clock
) -> None:
    run = requested(accepted_at=clock.now, deadline=clock.now // MINUTE * MINUTE + MINUTE)
    other = requested(accepted_at=clock.now + 1, deadline=clock.now + 2**31)
    await accept([run, other])
    await count([])
    clock.now = run.deadline + CALL_MS - 1
    assert _counts(await asked())[:4] == (2, 0, 2, 0)
    clock.now += 1
    told = await asked()
    assert _counts(told)[:4] == (2, 0, 1, 1)
    assert told.complete_up_to == other.accepted_at  # what is lost is waited for no more
    await count([completed(run_id=run.run_id, accepted_at=run.accepted_at)])
    assert _counts(await asked())[:4] == (2, 1, 1, 0)


async def test_a_run_that_is_sent_again_waits_for_its_later_deadline(
    accept: Store, count: Store, asked: Asked, requested: Request, clock: Clock
) -> None:
    run = requested(accepted_at=clock.now, deadline=clock.now + MINUTE)
    await accept([run])
    await accept([run.model_copy(update={"deadline": clock.now + 2**31})])
    await count([])
    clock.now += 2 * MINUTE + CALL_MS
    assert _counts(await asked())[:4] == (1, 0, 1, 0)


async def test_what_is_stored_and_not_counted_holds_complete_up_to(
    accept: Store, sealer: Sealer, database: ClickHouse, requested: Request, clock: Clock, workspace: UUID
) -> None:
    usages = Usages(database, clock, clock=clock)
    run = requested(accepted_at=clock.now - 1000, user="ada", deadline=clock.now + MINUTE)
    clock.now = now_ms()
    await accept([run])
    clock.now = now_ms() + 5_000
    counted = (await usages.answer(workspace, UsageAsked())).completeness
    stored = (await usages.answer(workspace, UsageAsked(user=["ada"]))).completeness
    assert (counted.accepted, stored.accepted) == (0, 1)
    assert counted.read_up_to
    assert stored.read_up_to
    assert counted.read_up_to < stored.read_up_to == clock.now
    assert stored.complete_up_to == counted.complete_up_to == counted.read_up_to
    await sealer.seal()
    assert (await usages.answer(workspace, UsageAsked())).completeness.complete_up_to == run.accepted_at


async def test_filters_that_only_a_run_that_ended_knows_are_named(
    accept: Store,
    count: Store,
    database: ClickHouse,
    completed: Make,
    requested: Request,
    clock: Clock,
    workspace: UUID,
) -> None:
    runs = [requested(accepted_at=clock.now, deadline=clock.now + MINUTE, model=f"m{n % 2}") for n in range(4)]
    await accept(runs)
    await count([completed(run_id=r.run_id, accepted_at=r.accepted_at, model=r.model) for r in runs[:2]])
    asked = UsageAsked(model=["m0"], status=["failed"], error=["rate_limited"])
    answer = await Usages(database, clock, clock=clock).answer(workspace, asked)
    assert answer.totals.runs == 0
    assert answer.completeness.not_filtered == ["status", "error"]
    assert _counts(answer.completeness) == (2, 1, 1, 0, 0, 0)


async def test_whatever_is_read_first_and_however_often(
    ingest: Ingest,
    sealer: Sealer,
    as_record: AsRecord,
    asked: Asked,
    completed: Make,
    requested: Request,
    clock: Clock,
) -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    requests = [
        requested(accepted_at=clock.now - draw.randrange(3 * 3_600_000), user=draw.choice(["", "ada"]),
                  deadline=clock.now + draw.choice([-CALL_MS - 2 * MINUTE, MINUTE]))
        for _ in range(120)
    ]  # fmt: skip
    ended = [
        completed(**run.model_dump(include={"run_id", "accepted_at", "user"})) for run in draw.sample(requests, 80)
    ]
    ended += [run.model_copy(update={"execution_id": new_id()}) for run in draw.sample(ended, 15)]
    records = [as_record(run, REQUESTED.name) for run in requests] + [as_record(run) for run in ended]
    records += draw.sample(records, 60)
    draw.shuffle(records)
    by_id = {run.run_id: run for run in requests}
    while records:
        taken = draw.randrange(1, 60)
        seen, records = records[:taken], records[taken:]
        assert await ingest.store(seen) == []
        if draw.random() < 0.5:
            await sealer.seal()
    while await sealer.seal():
        pass
    waiting = [by_id[run_id] for run_id in by_id.keys() - {run.run_id for run in ended}]
    lost = sum(run.deadline < clock.now - CALL_MS for run in waiting)
    told = await asked()
    assert _counts(told) == (120, 80, 40 - lost, lost, 15, 0), seed
    assert told.complete_up_to == min((r.accepted_at for r in waiting if r.deadline > clock.now), default=clock.now)
    print(f"seed {seed}: 120 accepted, 80 finished, {40 - lost} in flight, {lost} lost, read in any order")


async def test_an_hour_without_waiting_runs_has_none_to_store(
    accept: Store, count: Store, database: ClickHouse, completed: Make, requested: Request, workspace: UUID
) -> None:
    runs = [requested() for _ in range(3)]
    await accept(runs)
    await count([completed(run_id=run.run_id, accepted_at=run.accepted_at) for run in runs])
    rows: list[dict[str, Any]] = await database._run(
        lambda: list(database._client.query("SELECT * FROM usage_days FINAL").named_results())
    )
    assert [row["waiting"] for row in rows if row["runs"]] == [[]]
    assert all(row["waiting"] == [] for row in rows)
