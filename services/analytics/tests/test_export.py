"""Exports: their sums are those of the cards, any page size gives the same file, and every digit arrives."""

import csv
import io
import json
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from pyarrow import parquet

from analytics import exports
from analytics.clickhouse import ClickHouse
from analytics.exports import LAST_PLACE, Exports, _shares
from analytics.ingest import Refused
from analytics.overview import Overviews
from analytics.reprice import Repricing
from analytics.usage import Usages
from common.contracts.event import Event
from common.contracts.reprice_v1 import RepriceAsked
from common.contracts.runs_v1 import Cost, PriceContext, RunCompleted, RunError, Usage
from common.contracts.usage_v1 import ExportAsked, UsageAsked
from common.errors import InvalidRequest
from common.ids import new_id, now_ms

Make = Callable[..., RunCompleted]
Store = Callable[[Iterable[Event]], Awaitable[list[Refused]]]

HOUR_MS = 3_600_000
MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity"),
    *("PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
}
"""Of FOCUS 1.2: https://focus.finops.org/focus-specification/v1-2/"""

MAY_BE_EMPTY = {"BillingAccountName", "ChargeClass"}


def _runs(completed: Make, seed: int, count: int = 300) -> list[RunCompleted]:
    draw = random.Random(seed)
    now = now_ms()
    runs = [
        completed(
            accepted_at=now - draw.randrange(20 * 24 * HOUR_MS),
            model=draw.choice(["gpt-4o", "o5", 'of "mine", \n']),
            provider=draw.choice(["openai", "other"]),
            user=draw.choice(["ada", "=1+1", ""]),
            prompt_id=draw.choice(["greeting", None]),
            labels=draw.choice([{"team": "red", "a,b": 'c"d'}, {}]),
            status=draw.choice(["succeeded", "failed"]),
            usage=Usage(input=1000 + draw.randrange(2**20), output=draw.randrange(2**20), cached=draw.randrange(999)),
            price_context=PriceContext(),
            cost=draw.choice([Cost(priced=False), _cost(draw), _cost(draw)]),
            error=draw.choice([None, RunError(code="rate_limited", message="later")]),
            output=draw.choice(["four, or\nfive", "", None]),
            prompt_preview="what is 2+2?",
        )
        for _ in range(count)
    ]
    again = [
        run.model_copy(update={"execution_id": new_id(), "completed_at": run.completed_at + 1}) for run in runs[:9]
    ]
    return [*runs, *again]


def _cost(draw: random.Random) -> Cost:
    parts = {kind: Decimal(draw.randrange(1, 10**20)).scaleb(-18) for kind in ("input", "cached", "output")}
    with localcontext(prec=60):
        return Cost(priced=True, total=sum(parts.values(), Decimal(0)), components=parts, catalogue="test")


@pytest.fixture
async def told(completed: Make, count: Store) -> list[RunCompleted]:
    runs = _runs(completed, seed=5)
    assert await count(runs) == []
    return runs


async def file_of(database: ClickHouse, workspace: UUID, **asked: Any) -> bytes:
    pieces = Exports(database).file(workspace, ExportAsked(**asked))
    return b"".join([piece async for piece in pieces])


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def exact(amounts: Iterable[str | Decimal]) -> Decimal:
    with localcontext(prec=60):
        return sum((Decimal(amount) for amount in amounts if amount not in ("", None)), Decimal(0))


@pytest.mark.parametrize(
    "filters", [{}, {"model": ["o5"]}, {"user": [""], "status": ["failed"]}, {"label": ["team=red"]}], ids=str
)
async def test_card_table_chart_and_files_say_the_same(
    told: list[RunCompleted], database: ClickHouse, workspace: UUID, filters: dict[str, list[str]]
) -> None:
    asked = {"period": "30d", **filters}
    usage = await Usages(database, lambda: 1).answer(workspace, UsageAsked(**asked, by=["day"]))
    rows = rows_of(await file_of(database, workspace, **asked))
    charges = rows_of(await file_of(database, workspace, format="focus", **asked))
    table = parquet.read_table(io.BytesIO(await file_of(database, workspace, format="parquet", **asked)))

    assert exact(row["cost"] for row in rows) == usage.totals.cost == exact(group.cost for group in usage.groups)
    assert exact(table["cost"].to_pylist()) == exact(row["BilledCost"] for row in charges) == usage.totals.cost
    assert sum(row["execution"] == "1" for row in rows) == usage.totals.runs
    assert sum(int(row["input_tokens"]) for row in rows) == usage.totals.input_tokens
    assert [row["execution_id"] for row in rows] == table["execution_id"].to_pylist()
    if not filters:
        overview = await Overviews(database, now_ms).overview(workspace, "30d")
        assert overview.overview.total_cost == usage.totals.cost == exact(run.cost.total or 0 for run in told)


async def test_each_execution_is_there_as_it_was(
    told: list[RunCompleted], database: ClickHouse, workspace: UUID
) -> None:
    rows = {row["execution_id"]: row for row in rows_of(await file_of(database, workspace, period="30d"))}
    assert rows.keys() == {str(run.execution_id) for run in told}
    for run in told:
        row = rows[str(run.execution_id)]
        assert (row["run_id"], row["model"], row["user"]) == (str(run.run_id), run.model, run.user)
        assert json.loads(row["labels"]) == run.labels
        assert row["cost"] == ("" if run.cost.total is None else _digits(run.cost.total))
        assert row["priced"] == str(run.cost.priced).lower()
        at = datetime.fromtimestamp(run.accepted_at / 1000, UTC)
        assert row["accepted_at"] == at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert row["error_code"] == (run.error.code if run.error else "")
    times = [row["accepted_at"] for row in rows.values()]
    assert times == sorted(times)


def _digits(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@pytest.mark.parametrize("fmt", ["csv", "focus", "parquet"])
@pytest.mark.parametrize("texts", [False, True])
async def test_pages_of_any_size_make_the_same_file(
    completed: Make,
    count: Store,
    database: ClickHouse,
    workspace: UUID,
    monkeypatch: pytest.MonkeyPatch,
    fmt: str,
    texts: bool,
) -> None:
    hour = now_ms() // HOUR_MS * HOUR_MS - HOUR_MS
    crowd = [completed(accepted_at=hour + n * 40_000, user=f"user-{n}", output="o" * n) for n in range(80)]
    await count([*crowd, completed(accepted_at=hour - 40 * HOUR_MS), completed(accepted_at=hour)])
    asked = {"period": "7d", "format": fmt, "texts": texts}
    whole = await file_of(database, workspace, **asked)
    for name, size in (("PAGE", 7), ("TEXTS_PAGE", 7), ("TEXTS_BYTES", 100)):
        monkeypatch.setattr(exports, name, size)
    paged = await file_of(database, workspace, **asked)
    if fmt == "parquet":
        one, other = (parquet.ParquetFile(io.BytesIO(content)) for content in (whole, paged))
        assert one.read() == other.read()
        assert other.num_row_groups > one.num_row_groups
    else:
        assert paged == whole


async def test_texts_are_there_only_where_they_are_asked_for(
    told: list[RunCompleted], database: ClickHouse, workspace: UUID
) -> None:
    without = await file_of(database, workspace, period="30d")
    assert b"2+2" not in without
    rows = rows_of(await file_of(database, workspace, period="30d", texts=True))
    said = {str(run.execution_id): run.output or "" for run in told}
    assert {row["execution_id"]: row["output"] for row in rows} == said
    assert {row["prompt_preview"] for row in rows} == {"what is 2+2?"}


async def test_nothing_is_a_file_with_its_columns(database: ClickHouse, workspace: UUID) -> None:
    for fmt in ("csv", "focus"):
        content = (await file_of(database, workspace, format=fmt)).decode()
        assert content.count("\n") == 1
        assert "Cost" in content or "cost" in content
    empty = parquet.read_table(io.BytesIO(await file_of(database, workspace, format="parquet")))
    assert empty.num_rows == 0
    assert str(empty.schema.field("cost").type) == "decimal128(38, 18)"


async def test_charges_are_as_focus_has_them(told: list[RunCompleted], database: ClickHouse, workspace: UUID) -> None:
    rows = rows_of(await file_of(database, workspace, format="focus", period="30d"))
    assert rows[0].keys() >= MANDATORY
    assert all(name in MANDATORY or name[0].isupper() or name.startswith("x_") for name in rows[0])
    for row in rows:
        assert all(row[name] for name in MANDATORY - MAY_BE_EMPTY), row
        assert (row["ChargeCategory"], row["BillingCurrency"]) == ("Usage", "USD")
        assert row["BilledCost"] == row["EffectiveCost"] == row["ListCost"]
        start, end = (datetime.fromisoformat(row[f"ChargePeriod{edge}"]) for edge in ("Start", "End"))
        assert (end - start).total_seconds() == 3600
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["BillingPeriodEnd"]
        assert Decimal(row["PricingQuantity"]) * 1_000_000 == Decimal(row["ConsumedQuantity"])
        json.loads(row["Tags"])
    cached = sum(int(row["ConsumedQuantity"]) for row in rows if row["SkuMeter"] == "cached")
    assert cached == sum(run.usage.cached for run in told if run.cost.priced)
    fresh = sum(int(row["ConsumedQuantity"]) for row in rows if row["SkuMeter"] == "input")
    assert fresh == sum(run.usage.input - run.usage.cached for run in told if run.cost.priced)


async def test_a_discount_leaves_the_list_cost(
    completed: Make, count: Store, database: ClickHouse, workspace: UUID
) -> None:
    fields = {"model": "gpt-4o", "served_model": "gpt-4o", "price_context": PriceContext()}
    await count([completed(**fields, usage=Usage(input=1000, output=500))])
    asked = RepriceAsked(discounts={"gpt-4o": Decimal(20)}, apply=True)
    await Repricing(database, {"openai": "openai"}).page(workspace, asked)
    rows = rows_of(await file_of(database, workspace, format="focus"))
    assert {row["SkuMeter"]: (row["BilledCost"], row["ListCost"]) for row in rows} == {
        "input": ("0.002", "0.0025"),
        "output": ("0.004", "0.005"),
    }


async def test_what_cannot_be_asked_is_refused_before_the_first_byte(database: ClickHouse, workspace: UUID) -> None:
    with pytest.raises(InvalidRequest, match="tz"):
        await anext(Exports(database).file(workspace, ExportAsked(tz="Mars/Olympus")))


def test_shares_of_all_hashes_leave_none_out() -> None:
    for count in (1, 2, 3, 7, 1000):
        shares = _shares(count)
        assert (shares[0][0], shares[-1][1], len(shares)) == (0, LAST_PLACE, count)
        assert all(one[1] + 1 == other[0] for one, other in pairwise(shares))
