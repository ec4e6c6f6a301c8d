"""Runs priced again: by other prices, at discounts; exactly once, whoever is killed; and back to what was recorded."""

from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from analytics import reprice
from analytics.batches import Batches, Span, Stored
from analytics.clickhouse import ClickHouse
from analytics.ingest import Refused
from analytics.overview import Overviews
from analytics.reprice import STEPS, Repricing
from analytics.runs import Runs
from analytics.sealer import Sealer
from common.catalogue import CATALOGUE
from common.contracts.event import Event
from common.contracts.reprice_v1 import RepriceAsked, RepriceGroup
from common.contracts.runs_v1 import LATEST, Cost, PriceContext, RunCompleted, Usage
from common.contracts.topics import DAY_MS
from common.errors import Unavailable
from common.ids import new_id, now_ms

Make = Callable[..., RunCompleted]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]

CATALOGUES = {"openai": "openai", "anthropic": "anthropic", "own": None}
OLD = Cost(priced=True, total=Decimal("0.02"), components={"input": Decimal("0.02")}, catalogue="genai-prices 0.0.1")
LIST = Decimal("0.0075")
"""gpt-4o, 1000 tokens in at $2.50/M and 500 out at $10/M."""


class AllRead:
    stored = Stored(0, {})

    async def passes(self, time: int, within: float) -> bool:
        return True


@pytest.fixture
def run(completed: Make) -> Make:
    """Make a run of gpt-4o that cost two cents by an old catalogue."""

    def run(**fields: Any) -> RunCompleted:
        usual = {
            "model": "gpt-4o",
            "served_model": "gpt-4o",
            "usage": Usage(input=1000, output=500),
            "price_context": PriceContext(),
            "cost": OLD,
        }
        return completed(**usual | fields)

    return run


@pytest.fixture
def repricing(database: ClickHouse) -> Repricing:
    return Repricing(database, CATALOGUES)


@pytest.fixture
def books(database: ClickHouse, sealer: Sealer, workspace: UUID) -> Callable[[], Awaitable[dict[str, Decimal]]]:
    """Seal, and say what every table and answer makes of the workspace's costs."""

    async def books() -> dict[str, Decimal]:
        while await sealer.seal():
            pass
        overview = await Overviews(database, now_ms).overview(workspace, "1y")
        batch = await Batches(database, AllRead()).totals(workspace, "b", Span(0, LATEST))
        prompts = [row.total_cost for row in overview.expensive_prompts]
        return {
            "card": overview.overview.total_cost,
            "series": sum((day.cost for day in overview.time_series), Decimal(0)),
            "models": sum((model.cost for model in overview.model_breakdown), Decimal(0)),
            "prompts": sum(prompts, Decimal(0)),
            "batch": batch.cost,
        }

    return books


Books = Callable[[], Awaitable[dict[str, Decimal]]]


def same(amount: Decimal) -> dict[str, Decimal]:
    return dict.fromkeys(("card", "series", "models", "prompts", "batch"), amount)


async def all_of(repricing: Repricing, workspace: UUID, **asked: Any) -> list[RepriceGroup]:
    """Reprice the last year, page by page; answer the groups of every page."""
    groups: list[RepriceGroup] = []
    cursor: int | None = None
    while True:
        page = await repricing.page(workspace, RepriceAsked(period="1y", cursor=cursor, **asked))
        groups += page.groups
        if (cursor := page.next_cursor) is None:
            return groups


async def test_a_dry_run_says_what_would_change_and_changes_nothing(
    repricing: Repricing, count: Store, run: Make, books: Books, workspace: UUID
) -> None:
    await count([run(batch_id="b", prompt_id="p"), run(batch_id="b", prompt_id="p", model="gpt-9", served_model="")])
    [known, unknown] = await all_of(repricing, workspace)
    assert (known.provider, known.model, known.executions, known.changed, known.kept) == ("openai", "gpt-4o", 1, 1, 0)
    assert (known.was, known.becomes) == (Decimal("0.02"), LIST)
    assert (unknown.model, unknown.changed, unknown.kept, unknown.was) == ("gpt-9", 0, 1, unknown.becomes)
    assert await books() == same(Decimal("0.04"))


async def test_it_is_applied_once_with_the_old_figure_kept(
    repricing: Repricing, count: Store, run: Make, books: Books, database: ClickHouse, workspace: UUID
) -> None:
    runs = [run(batch_id="b", prompt_id="p", accepted_at=now_ms() - n * 9 * DAY_MS) for n in range(5)]
    await count(runs)
    assert [group.changed for group in await all_of(repricing, workspace, apply=True, reason="new prices")] == [5]
    assert await books() == same(5 * LIST)
    assert [group.changed for group in await all_of(repricing, workspace, apply=True)] == [0]
    assert await books() == same(5 * LIST)
    seen = await Runs(database, AllRead()).detail(workspace, runs[0].run_id, None)
    assert seen.cost == LIST
    assert seen.cost_components == {"input": Decimal("0.0025"), "output": Decimal("0.005")}
    assert seen.catalogue == CATALOGUE
    assert seen.repriced is not None
    told = seen.repriced.model_dump(by_alias=True, exclude={"at"})
    assert told == {"from": Decimal("0.02"), "to": LIST, "catalogue": CATALOGUE, "reason": "new prices"}


async def test_a_redelivery_does_not_bring_the_old_figure_back(
    repricing: Repricing, count: Store, run: Make, books: Books, workspace: UUID
) -> None:
    runs = [run(batch_id="b", prompt_id="p") for _ in range(3)]
    await count(runs)
    await all_of(repricing, workspace, apply=True)
    await count(runs)
    assert (await books())["card"] == 3 * LIST


async def test_discounts_are_off_each_component_and_never_compound(
    repricing: Repricing, count: Store, run: Make, books: Books, workspace: UUID, database: ClickHouse
) -> None:
    await count([run(batch_id="b", prompt_id="p")])
    third = {"gpt-4o": Decimal("33.333333")}
    off = Decimal("0.0025") * (1 - Decimal("0.33333333")) + Decimal("0.005") * (1 - Decimal("0.33333333"))
    for _ in range(2):
        await all_of(repricing, workspace, apply=True, discounts=third)
        assert await books() == same(off)
    [row] = await database.rows("reprice_rows", workspace=workspace, **_everything())
    assert row["list_components"] == {"input": Decimal("0.0025"), "output": Decimal("0.005")}
    await all_of(repricing, workspace, apply=True, discounts={"openai/gpt-4o": Decimal(10), "gpt-4o": Decimal(50)})
    assert await books() == same(LIST * Decimal("0.9"))


async def test_what_was_recorded_comes_back(
    repricing: Repricing, count: Store, run: Make, books: Books, database: ClickHouse, workspace: UUID
) -> None:
    original = run(batch_id="b", prompt_id="p")
    await count([original])
    for asked in ({"discounts": {"gpt-4o": Decimal(20)}}, {}, {"catalogue": "recorded"}):
        await all_of(repricing, workspace, apply=True, **asked)
    assert await books() == same(Decimal("0.02"))
    seen = await Runs(database, AllRead()).detail(workspace, original.run_id, None)
    assert (seen.cost_components, seen.catalogue) == (OLD.components, OLD.catalogue)
    assert seen.repriced is not None
    assert (seen.repriced.from_, seen.repriced.to) == (Decimal("0.02"), Decimal("0.02"))


async def test_a_price_is_given_where_it_is_known_now_and_never_taken_away(
    repricing: Repricing, count: Store, run: Make, books: Books, workspace: UUID
) -> None:
    unknown = Cost(priced=False, catalogue="genai-prices 0.0.1")
    await count(
        [
            run(batch_id="b", prompt_id="p", cost=unknown),
            run(batch_id="b", prompt_id="p", cost=unknown, price_context=None),  # what an unknown call cost stays so
            run(batch_id="b", prompt_id="p", price_context=None),
            run(batch_id="b", prompt_id="p", provider="own"),
            run(batch_id="b", prompt_id="p", provider="no-longer-here"),
            run(batch_id="b", prompt_id="p", service_tier="scale"),
        ]
    )
    groups = await all_of(repricing, workspace, apply=True)
    assert sum(group.newly_priced for group in groups) == 1
    assert sum(group.kept for group in groups) == 5
    assert await books() == same(LIST + 4 * Decimal("0.02"))


async def test_everything_the_bill_depends_on_is_asked(
    repricing: Repricing, count: Store, run: Make, books: Books, workspace: UUID
) -> None:
    cached = PriceContext(cache_writes_1h=100)
    spoken = run(
        provider="anthropic",
        model="claude-sonnet-4-5",
        served_model="claude-sonnet-4-5",
        usage=Usage(input=300, cache_writes=300),
        price_context=cached,
        batch_id="b",
        prompt_id="p",
    )
    await count([spoken])
    await all_of(repricing, workspace, apply=True)
    assert await books() == same(Decimal("0.00135"))  # 100 × $6/M + 200 × $3.75/M


@pytest.mark.parametrize("step", ["written", *STEPS])
async def test_killed_in_the_middle_and_started_again_it_ends_exact(
    repricing: Repricing,
    count: Store,
    run: Make,
    books: Books,
    workspace: UUID,
    database: ClickHouse,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    monkeypatch.setattr(reprice, "PAGE", 3)
    runs = [run(batch_id="b", prompt_id="p", accepted_at=now_ms() - n * 3_600_000 * 7) for n in range(10)]
    await count(runs)
    execute, left = database.execute, [1]

    async def killed(query: str, **parameters: Any) -> None:
        if query == step or (step == "written" and query in STEPS):
            left[0] -= 1
            if left[0] < 0:
                raise Unavailable("killed")
        await execute(query, **parameters)

    monkeypatch.setattr(database, "execute", killed)
    with pytest.raises(Unavailable):
        await all_of(repricing, workspace, apply=True)
    monkeypatch.setattr(database, "execute", execute)
    await books()  # sealed meanwhile
    another = Repricing(database, CATALOGUES)
    await another.finish()
    half = await books()
    assert len(set(half.values())) == 1, half
    assert half["card"] not in (10 * LIST, 10 * OLD.total)
    await all_of(another, workspace, apply=True)
    assert await books() == same(10 * LIST)


@pytest.mark.parametrize(("zone", "inside"), [("Etc/GMT", 2), ("Asia/Kolkata", 4)])
async def test_a_period_and_its_days_are_kept_to(
    repricing: Repricing,
    count: Store,
    run: Make,
    workspace: UUID,
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
    inside: int,
) -> None:
    monkeypatch.setattr(reprice, "PAGE", 1)
    midnight = (
        1_795_392_000_000  # 2026-11-23 00:00 UTC; in Kolkata the day begins at half past six in the evening before
    )
    begin, end = midnight - 5 * 3_600_000 - 1_800_000, midnight + 18 * 3_600_000 + 1_800_000
    times = [begin - 1, begin, begin + 1, midnight, end - 1, end + 6 * 3_600_000]
    await count([run(accepted_at=at) for at in times])
    asked: dict[str, Any] = {"from_": "2026-11-23", "to": "2026-11-23", "tz": zone, "apply": True}
    monkeypatch.setattr(reprice, "PAGE_SECONDS", 0.0)
    pages, cursor = [], None
    while True:
        page = await repricing.page(workspace, RepriceAsked(cursor=cursor, **asked))
        pages.append(page)
        if (cursor := page.next_cursor) is None:
            break
    assert len(pages) > 1
    assert [page.share for page in pages] == sorted(page.share for page in pages)
    assert pages[-1].share == 1
    assert sum(group.executions for page in pages for group in page.groups) == inside
    assert sum(group.changed for page in pages for group in page.groups) == inside


async def test_other_workspaces_keep_their_prices(
    repricing: Repricing, count: Store, run: Make, books: Books, workspace: UUID
) -> None:
    await count([run(batch_id="b", prompt_id="p"), run(batch_id="b", prompt_id="p", workspace_id=new_id())])
    await all_of(repricing, new_id(), apply=True)
    assert await books() == same(OLD.total or Decimal(0))


def _everything() -> dict[str, int]:
    return {"since": 0, "until": LATEST, "from": 0, "to": LATEST // 1000}
