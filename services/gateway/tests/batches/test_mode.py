"""Which batches go through the providers' own, and at which price."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from pydantic import HttpUrl
from services.gateway.tests.batches.test_quote import OPENAI, Earlier

from common.catalogue import rate
from common.contracts.topics import DAY_MS
from common.providers import Providers, ProviderSettings, ProviderSpec
from gateway.batches.batch import Mode
from gateway.batches.mode import FEWEST_ROWS, MOST_KINDS, Chosen, Kinds, chosen
from gateway.batches.quote import Quoting
from gateway.batches.rows import Request

SPEC = Providers.load(ProviderSettings()).find("openai")
DEAR = "chatgpt-4o-latest"
"""A model that the catalogue has a price of, and none for batches."""

HOUSE = ProviderSpec(name="house", wire="openai", base_url=HttpUrl("http://127.0.0.1:9"))


def kinds(count: int = FEWEST_ROWS, spec: ProviderSpec = SPEC, models: tuple[str, ...] = ("gpt-4o-mini",)) -> Kinds:
    found = Kinds()
    for number in range(count):
        found.add(Request(str(number), "m", spec, models[number % len(models)], "chat", {}, 1))
    return found


@pytest.mark.parametrize(
    ("mode", "given", "lifetime_ms", "expected"),
    [
        ("online", kinds(), DAY_MS, Chosen("online")),
        ("provider", kinds(1), 1000, Chosen("provider")),
        ("auto", kinds(), DAY_MS, Chosen("provider")),
        ("auto", kinds(), DAY_MS - 1, Chosen("online", "its deadline is less than 24 hours away")),
        ("auto", kinds(FEWEST_ROWS - 1), DAY_MS, Chosen("online", "it has fewer than 100 rows")),
        ("auto", kinds(models=(DEAR,)), DAY_MS, Chosen("online", f"the catalogue has no batch price of {DEAR}")),
        ("provider", kinds(models=(DEAR,)), DAY_MS, Chosen("provider")),
        ("auto", kinds(spec=HOUSE), DAY_MS, Chosen("online", "no batches are known of at house")),
        ("provider", kinds(spec=HOUSE), DAY_MS, Chosen("online", "no batches are known of at house")),
        (
            "provider",
            kinds(models=tuple(str(number) for number in range(MOST_KINDS + 1))),
            DAY_MS,
            Chosen("online", "its rows are of more than 20 models"),
        ),
    ],
)
def test_what_becomes_of_a_mode(mode: Mode, given: Kinds, lifetime_ms: int, expected: Chosen) -> None:
    assert chosen(mode, given, lifetime_ms) == expected


def test_a_row_is_found_by_its_place() -> None:
    found = kinds(5, models=("a", "b"))
    assert [found.of(row).model for row in range(5)] == ["a", "b", "a", "b", "a"]


async def test_a_quote_knows_the_price_of_a_batch() -> None:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "How many?"}], "max_tokens": 500}
    quoting = Quoting(Earlier(runs=1000, mean=100, lower=60, upper=150), uuid4())
    await quoting.add(OPENAI, "gpt-4o-mini", body)
    await quoting.add(OPENAI, DEAR, body)
    online, provider = quoting.quote(), quoting.quote(Chosen("provider"))
    cheap = rate("openai", "gpt-4o-mini", datetime.now(UTC), batch=True)
    assert cheap is not None
    assert (cheap.input, cheap.output) == (Decimal("0.000000075"), Decimal("0.0000003"))
    mini = [quoted.models[0].high for quoted in (online, provider)]
    assert mini[0] == (mini[1] or 0) * 2
    assert (online.unpriced_rows, provider.unpriced_rows) == (0, 1)
    assert (provider.runs_as, provider.runs_as_why) == ("provider", None)
