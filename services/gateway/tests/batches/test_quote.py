from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import HttpUrl

from common.catalogue import rate
from common.contracts.answers_v1 import OutputTokens
from common.errors import Unavailable
from common.providers import ProviderSpec
from gateway.batches.estimate import Span, input_tokens
from gateway.batches.quote import ASSUMED_OUTPUT, Quoting, expected

OPENAI = ProviderSpec(name="openai", wire="openai", base_url=HttpUrl("http://127.0.0.1:9"), catalogue="openai")
UNPRICED = ProviderSpec(name="house", wire="openai", base_url=HttpUrl("http://127.0.0.1:9"))
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "How many rivers are there?"}], "max_tokens": 500}
NOW = datetime(2026, 6, 1, tzinfo=UTC)


class Earlier:
    """What was answered before."""

    def __init__(self, *, runs: int = 0, mean: int = 0, lower: int = 0, upper: int = 0, away: bool = False) -> None:
        self._known = OutputTokens(runs=runs, mean=mean, lower=lower, upper=upper)
        self._away = away
        self.asked = 0

    async def output_tokens(self, workspace_id: UUID, provider: str, model: str) -> OutputTokens:
        self.asked += 1
        if self._away:
            raise Unavailable("analytics cannot be reached")
        return self._known


def _quoting(earlier: Earlier) -> Quoting:
    return Quoting(earlier, uuid4(), lambda: NOW)


async def test_rows_are_priced_at_the_catalogue() -> None:
    price = rate("openai", "gpt-4o-mini", NOW)
    assert price is not None
    earlier = Earlier(runs=1000, mean=100, lower=60, upper=150)
    quoting = _quoting(earlier)
    for _ in range(3):
        await quoting.add(OPENAI, "gpt-4o-mini", BODY)
    (quoted,) = quoting.quote().models
    tokens = input_tokens(BODY)
    assert (quoted.rows, quoted.unpriced_rows, earlier.asked) == (3, 0, 1)
    assert (quoted.input_low, quoted.input_high) == (3 * tokens.low, 3 * tokens.high)
    assert (quoted.output_low, quoted.output_high) == (180, 450)
    assert quoted.low == 3 * tokens.low * price.input + 180 * price.output
    assert quoted.high == 3 * tokens.high * price.input + 450 * price.output
    assert "your last 1,000 answers" in quoted.basis


async def test_a_model_without_a_price_is_counted_and_not_free() -> None:
    quoting = _quoting(Earlier())
    await quoting.add(UNPRICED, "own-model", BODY)
    await quoting.add(OPENAI, "gpt-4o-mini", BODY)
    quote = quoting.quote()
    unpriced, priced = quote.models
    assert (quote.rows, quote.unpriced_rows) == (2, 1)
    assert (unpriced.low, unpriced.high) == (None, None)
    assert (quote.low, quote.high) == (priced.low, priced.high)


async def test_no_row_counts_above_its_own_limit_and_each_choice_counts() -> None:
    quoting = _quoting(Earlier(runs=1000, mean=400, lower=300, upper=600))
    await quoting.add(OPENAI, "gpt-4o-mini", {**BODY, "max_tokens": 10, "n": 4})
    (quoted,) = quoting.quote().models
    assert (quoted.output_low, quoted.output_high) == (40, 40)


@pytest.mark.parametrize("earlier", [Earlier(runs=29, mean=7), Earlier(away=True)])
async def test_without_enough_earlier_answers_the_quote_says_what_it_assumes(earlier: Earlier) -> None:
    quoting = _quoting(earlier)
    await quoting.add(OPENAI, "gpt-4o-mini", BODY)
    (quoted,) = quoting.quote().models
    assert (quoted.output_low, quoted.output_high) == (ASSUMED_OUTPUT.low, 500)
    assert "assumed" in quoted.basis


def test_answers_that_were_all_alike_leave_room_for_others() -> None:
    assert expected(OutputTokens(runs=100, mean=100, lower=100, upper=100))[0] == Span(80, 121)


def test_a_few_long_answers_raise_the_mean_above_the_quartiles() -> None:
    assert expected(OutputTokens(runs=100, mean=1000, lower=10, upper=20))[0] == Span(10, 1201)


async def test_no_rows_cost_nothing() -> None:
    quote = _quoting(Earlier()).quote()
    assert (quote.rows, quote.low, quote.high, quote.models) == (0, Decimal(0), Decimal(0), [])
