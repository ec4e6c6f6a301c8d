"""Expected figures are worked out by hand from the published prices per million tokens, never by the library."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import calc_price
from genai_prices import types as catalogue_types

from common.catalogue import CATALOGUE, models_of, rate
from common.contracts.runs_v1 import Cost, PriceContext, Usage
from common.pricing import Call, price

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def openai(model: str, usage: Usage, tier: str | None = "default", *, batch: bool = False) -> Cost:
    return price("openai", Call(model, model, tier, usage, batch=batch), AT)


def anthropic(
    model: str,
    usage: Usage,
    tier: str | None = "standard",
    context: PriceContext | None = None,
    *,
    batch: bool = False,
) -> Cost:
    return price("anthropic", Call(model, model, tier, usage, context or PriceContext(), batch), AT)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4", "0.06"),  # 1000 × $30/M + 500 × $60/M
        ("gpt-4-turbo", "0.025"),  # 1000 × $10/M + 500 × $30/M
        ("gpt-3.5-turbo", "0.00125"),  # 1000 × $0.50/M + 500 × $1.50/M
        ("gpt-4o", "0.0075"),  # 1000 × $2.50/M + 500 × $10/M
        ("gpt-4o-2024-08-06", "0.0075"),  # the dated snapshot costs the same
        ("gpt-4o-2024-05-13", "0.0125"),  # 1000 × $5/M + 500 × $15/M: this older snapshot costs more
        ("gpt-4o-mini", "0.00045"),  # 1000 × $0.15/M + 500 × $0.60/M
    ],
)
def test_openai_list_prices(model: str, expected: str) -> None:
    assert openai(model, Usage(input=1000, output=500)).total == Decimal(expected)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-3-opus-20240229", "0.0525"),  # 1000 × $15/M + 500 × $75/M
        ("claude-3-sonnet-20240229", "0.0105"),  # 1000 × $3/M + 500 × $15/M
        ("claude-3-haiku-20240307", "0.000875"),  # 1000 × $0.25/M + 500 × $1.25/M
        ("claude-sonnet-4-5", "0.0105"),
        ("claude-opus-4-5", "0.0175"),  # 1000 × $5/M + 500 × $25/M
        ("claude-haiku-4-5", "0.0035"),  # 1000 × $1/M + 500 × $5/M
    ],
)
def test_anthropic_list_prices(model: str, expected: str) -> None:
    assert anthropic(model, Usage(input=1000, output=500)).total == Decimal(expected)


def test_components_add_up_to_the_total_and_name_the_catalogue() -> None:
    cost = openai("gpt-4o", Usage(input=1000, output=500, cached=200))
    # 800 × $2.50/M, 200 × $1.25/M, 500 × $10/M
    assert cost.components == {"input": Decimal("0.002"), "cached": Decimal("0.00025"), "output": Decimal("0.005")}
    assert cost.total == sum(cost.components.values()) == Decimal("0.00725")
    assert cost.catalogue == CATALOGUE == "genai-prices 0.2.3"


def test_everything_cached_leaves_no_input_component() -> None:
    cost = openai("gpt-4o", Usage(input=1000, cached=1000))
    assert cost.components == {"cached": Decimal("0.00125")}


def test_cached_tokens_without_a_cached_price_cost_what_input_costs() -> None:
    assert openai("gpt-4", Usage(input=1000, output=0, cached=400)).total == Decimal("0.03")


@pytest.mark.parametrize(
    ("cost", "saved"),
    [
        # 200 × ($2.50 − $1.25)/M
        (lambda: openai("gpt-4o", Usage(input=1000, output=500, cached=200)), "0.00025"),
        # 600 × ($3 − $0.30)/M; what was written into the cache is dearer, and no part of it
        (
            lambda: anthropic("claude-sonnet-4-5", Usage(input=1000, output=100, cached=600, cache_writes=300)),
            "0.00162",
        ),
        # over 200k: 240,000 × ($6 − $0.60)/M
        (lambda: anthropic("claude-sonnet-4-5", Usage(input=250_000, cached=240_000)), "1.296"),
        # priority: 200 × ($4.25 − $2.125)/M
        (lambda: openai("gpt-4o", Usage(input=1000, cached=200), "priority"), "0.000425"),
        # US-only: 500 × ($5 − $0.50)/M × 1.1
        (
            lambda: anthropic(
                "claude-opus-4-6", Usage(input=1000, cached=500), context=PriceContext(inference_geo="us")
            ),
            "0.002475",
        ),
        (lambda: openai("gpt-4", Usage(input=1000, cached=400)), "0"),  # cached tokens have no price of their own
    ],
)
def test_a_cache_saves_what_its_tokens_would_have_cost_as_input(cost: Callable[[], Cost], saved: str) -> None:
    assert cost().cache_savings == Decimal(saved)


def test_without_cached_tokens_nothing_is_said_of_savings() -> None:
    assert openai("gpt-4o", Usage(input=1000, output=500)).cache_savings is None
    assert openai("of-my-own-making", Usage(input=1000, cached=500)).cache_savings is None


def test_reasoning_tokens_are_billed_once_as_output() -> None:
    # 100 × $1.10/M + 900 × $4.40/M; 800 of the 900 are reasoning
    assert openai("o4-mini", Usage(input=100, output=900, reasoning=800)).total == Decimal("0.00407")


def test_openai_cache_writes_cost_more_than_input() -> None:
    # gpt-5.6-sol at 2026-11: input $4/M, cache write $5/M, cached $0.40/M, output $20/M
    cost = openai("gpt-5.6-sol", Usage(input=1000, output=100, cached=300, cache_writes=200))
    assert cost.components == {
        "input": Decimal("0.002"),  # 500 × $4/M
        "cached": Decimal("0.00012"),
        "cache_writes": Decimal("0.001"),
        "output": Decimal("0.002"),
    }


def test_anthropic_cache_reads_and_writes() -> None:
    # claude-sonnet-4-5: input $3/M, 5-minute write $3.75/M, read $0.30/M, output $15/M
    cost = anthropic("claude-sonnet-4-5", Usage(input=1000, output=100, cached=600, cache_writes=300))
    assert cost.components == {
        "input": Decimal("0.0003"),  # 100 × $3/M
        "cached": Decimal("0.00018"),
        "cache_writes": Decimal("0.001125"),
        "output": Decimal("0.0015"),
    }
    assert cost.total == Decimal("0.003105")


def test_anthropic_one_hour_cache_writes_cost_twice_the_input() -> None:
    # 300 written: 100 for an hour at $6/M, 200 for five minutes at $3.75/M
    cost = anthropic("claude-sonnet-4-5", Usage(input=300, cache_writes=300), context=PriceContext(cache_writes_1h=100))
    assert cost.components == {"cache_writes": Decimal("0.00135")}


def test_web_searches_cost_ten_dollars_per_thousand() -> None:
    cost = anthropic("claude-sonnet-4-5", Usage(input=1000), context=PriceContext(web_searches=3))
    assert cost.components == {"input": Decimal("0.003"), "web_searches": Decimal("0.03")}


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (200_000, "0.6"),  # 200,000 × $3/M
        (200_001, "1.200006"),  # over 200k every token costs $6/M
    ],
)
def test_long_prompts_cost_more_for_every_token(tokens: int, expected: str) -> None:
    assert anthropic("claude-sonnet-4-5", Usage(input=tokens)).total == Decimal(expected)


def test_the_long_prompt_tier_counts_cached_tokens_and_raises_output() -> None:
    # 250,000 of which 240,000 cached: 10,000 × $6/M + 240,000 × $0.60/M + 1,000 × $22.50/M
    cost = anthropic("claude-sonnet-4-5", Usage(input=250_000, output=1000, cached=240_000))
    assert cost.total == Decimal("0.06") + Decimal("0.144") + Decimal("0.0225")


def test_openai_priority_tier_costs_its_own_price() -> None:
    # gpt-4o priority: $4.25/M input, $2.125/M cached, $17/M output
    cost = openai("gpt-4o", Usage(input=1000, output=500, cached=200), "priority")
    assert cost.total == Decimal("0.0034") + Decimal("0.000425") + Decimal("0.0085")


def test_openai_flex_tier_costs_half() -> None:
    assert openai("gpt-5", Usage(input=1000, output=500), "flex").total == Decimal("0.003125")


@pytest.mark.parametrize("tier", [None, "", "default", "standard"])
def test_tiers_that_mean_list_price(tier: str | None) -> None:
    assert openai("gpt-4o", Usage(input=1000), tier).total == Decimal("0.0025")


def test_a_tier_the_catalogue_does_not_know_is_unpriced_not_standard() -> None:
    assert openai("gpt-4o", Usage(input=1000), "scale") == Cost(priced=False, catalogue=CATALOGUE)
    assert not anthropic("claude-sonnet-4-5", Usage(input=1000), "priority").priced


def test_a_tier_known_for_other_models_only_is_unpriced() -> None:
    assert not openai("gpt-4", Usage(input=1000), "flex").priced


def test_a_tier_is_unpriced_before_the_day_its_price_is_known_from() -> None:
    early = datetime(2026, 10, 11, tzinfo=UTC)
    assert not price("openai", Call("gpt-4o", "gpt-4o", "priority", Usage(input=1)), early).priced


def test_an_openai_batch_costs_half() -> None:
    assert openai("gpt-4o", Usage(input=1000, output=500), batch=True).total == Decimal("0.00375")


def test_an_anthropic_batch_costs_half_also_when_the_response_says_tier_batch() -> None:
    usage = Usage(input=1000, output=500)
    # 1000 × $1.50/M + 500 × $7.50/M; passed on as a tier, "batch" would bill $0.0105
    assert anthropic("claude-sonnet-4-5", usage, "batch", batch=True).total == Decimal("0.00525")
    assert anthropic("claude-sonnet-4-5", usage, "batch").total == Decimal("0.00525")


def test_a_batch_of_a_model_without_a_batch_price_is_unpriced() -> None:
    assert not anthropic("claude-3-opus-20240229", Usage(input=1000), "batch", batch=True).priced


def test_a_batch_in_another_tier_is_unpriced() -> None:
    assert not openai("gpt-5", Usage(input=1000), "priority", batch=True).priced


def test_us_only_inference_costs_a_tenth_more_for_tokens_and_nothing_for_searches() -> None:
    context = PriceContext(inference_geo="us", web_searches=1)
    cost = anthropic("claude-opus-4-6", Usage(input=1000, output=100, cached=500), context=context)
    assert cost.components == {
        "input": Decimal("0.00275"),  # 500 × $5/M × 1.1
        "cached": Decimal("0.000275"),  # 500 × $0.50/M × 1.1
        "output": Decimal("0.00275"),  # 100 × $25/M × 1.1
        "web_searches": Decimal("0.01"),
    }


@pytest.mark.parametrize(("geo", "priced"), [("global", True), ("not_available", True), ("moon", False)])
def test_other_geographies(geo: str, priced: bool) -> None:
    cost = anthropic("claude-opus-4-6", Usage(input=1000), context=PriceContext(inference_geo=geo))
    assert (cost.priced, cost.total) == (priced, Decimal("0.005") if priced else None)


def test_fast_mode_costs_its_own_price_or_is_unpriced() -> None:
    fast = PriceContext(speed="fast")
    # claude-opus-5-5 fast: $8/M input, $40/M output
    assert anthropic("claude-opus-5-5", Usage(input=1000, output=100), context=fast).total == Decimal("0.012")
    assert not anthropic("claude-sonnet-4-5", Usage(input=1000), context=fast).priced


def test_audio_is_unpriced_where_the_catalogue_would_bill_it_as_text() -> None:
    model, context = "gpt-4o-audio-preview", PriceContext(input_audio=900)
    assert not price("openai", Call(model, model, None, Usage(input=1000), context), AT).priced


def test_audio_has_a_price_of_its_own_where_the_catalogue_knows_it() -> None:
    # gpt-4o-transcribe: text $2.50/M, audio $6/M
    model, context = "gpt-4o-transcribe", PriceContext(input_audio=900)
    cost = price("openai", Call(model, model, None, Usage(input=1000), context), AT)
    assert cost.components == {"input": Decimal("0.00025"), "input_audio": Decimal("0.0054")}


def test_the_served_model_is_billed_not_the_requested_one() -> None:
    # asked for gpt-4 ($30/M), served by gpt-4o-mini ($0.15/M)
    assert price("openai", Call("gpt-4", "gpt-4o-mini", None, Usage(input=1000)), AT).total == Decimal("0.00015")


@pytest.mark.parametrize("served", [None, "", "a-deployment-name"])
def test_the_requested_model_is_billed_where_the_served_name_is_unknown(served: str | None) -> None:
    assert price("openai", Call("gpt-4o", served, None, Usage(input=1000)), AT).total == Decimal("0.0025")


def test_an_unknown_model_is_unpriced_not_free() -> None:
    cost = openai("of-my-own-making", Usage(input=1000, output=500))
    assert cost == Cost(priced=False, total=None, components={}, catalogue=CATALOGUE)


def test_no_catalogue_an_unknown_one_and_no_usage_are_unpriced() -> None:
    call = Call("gpt-4o", "gpt-4o", None, Usage(input=1))
    assert price(None, call, AT) == Cost(priced=False)
    assert not price("nobody", call, AT).priced
    assert not price("openai", replace(call, usage=None), AT).priced


def test_counts_that_contradict_each_other_are_unpriced() -> None:
    assert not openai("gpt-4o", Usage(input=10, cached=11)).priced
    assert not anthropic(
        "claude-sonnet-4-5", Usage(input=10, cache_writes=5), context=PriceContext(cache_writes_1h=6)
    ).priced


def test_no_tokens_cost_nothing_and_that_is_known() -> None:
    cost = openai("gpt-4o", Usage())
    assert (cost.priced, cost.total) == (True, Decimal(0))


def test_a_price_change_holds_from_its_day_on() -> None:
    # claude-opus-4-6 over 200k: $10/M, flat $5/M from 2026-03-13
    long = Call("claude-opus-4-6", "claude-opus-4-6", "standard", Usage(input=300_000))
    assert price("anthropic", long, datetime(2026, 3, 12, 23, tzinfo=UTC)).total == Decimal(3)
    assert price("anthropic", long, datetime(2026, 3, 13, tzinfo=UTC)).total == Decimal("1.5")


def test_small_amounts_keep_every_digit() -> None:
    # 7 × $0.15/M + 3 × $0.60/M
    assert openai("gpt-4o-mini", Usage(input=7, output=3)).total == Decimal("0.00000285")


def test_large_amounts_keep_every_digit() -> None:
    # 1,000,000,007 × $0.15/M
    assert openai("gpt-4o-mini", Usage(input=1_000_000_007)).total == Decimal("150.00000105")


@pytest.mark.parametrize(
    ("per_million", "expected"),
    [
        ("0.0000000000015", "0.000000000000000002"),  # 1.5E-18: a half goes to the even neighbour
        ("0.0000000000025", "0.000000000000000002"),
        ("0.0000000000026", "0.000000000000000003"),
    ],
)
def test_components_are_rounded_to_18_places_half_to_even(
    per_million: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = catalogue_types.ModelInfo(
        id="tiny",
        match=catalogue_types.ClauseEquals("tiny"),
        prices=catalogue_types.ModelPrice(input_mtok=Decimal(per_million), output_mtok=Decimal(per_million)),
    )
    monkeypatch.setattr("common.pricing.find", lambda *_: model)
    cost = openai("tiny", Usage(input=1, output=1))
    assert cost.components == {"input": Decimal(expected), "output": Decimal(expected)}
    assert cost.total == 2 * Decimal(expected)


@pytest.mark.parametrize("model", ["gpt-4o", "o4-mini", "gpt-5.6-sol", "gpt-5-pro"])
@pytest.mark.parametrize("tier", [None, "default", "priority"])
def test_where_the_catalogue_is_trusted_the_library_agrees(model: str, tier: str | None) -> None:
    usage = Usage(input=300_000, output=500, cached=200, cache_writes=0, reasoning=50)
    cost = openai(model, usage, tier)
    counted = catalogue_types.Usage(
        input_tokens=300_000, output_tokens=500, cache_read_tokens=200, output_reasoning_tokens=50
    )
    theirs = calc_price(
        counted,
        model,
        provider_id="openai",
        genai_request_timestamp=AT,
        price_context={"service_tier": tier} if tier else None,
    )
    assert cost.total == theirs.total_price if cost.priced else (tier == "priority")


@pytest.mark.parametrize("catalogue", ["openai", "anthropic", "google", "groq", "perplexity", "deepseek"])
def test_no_call_costs_more_than_the_rate_of_its_model(catalogue: str) -> None:
    """Quotes and spend limits rest on it. Writing into a cache is dearer, and is not in the rate."""
    compared = 0
    for model in models_of(catalogue):
        for usage in (Usage(input=1000, output=500, cached=300), Usage(input=900_000, output=90_000, reasoning=50_000)):
            bound, cost = rate(catalogue, model, AT), price(catalogue, Call(model, model, None, usage), AT)
            if bound is None or cost.total is None:
                continue
            compared += 1
            assert cost.total <= usage.input * bound.input + usage.output * bound.output + bound.request, model
    assert compared > 8
