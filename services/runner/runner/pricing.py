"""What an answer cost: the catalogue's prices applied to what the provider reported. Unknown is unpriced, never 0."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace

from genai_prices.decompose import compute_leaf_values
from genai_prices.types import ModelInfo, calc_unit_price
from genai_prices.units import UnitDef

from common.catalogue import BATCH, CATALOGUE, Prices, find, prices
from common.contracts.runs_v1 import Cost, Usage
from runner.providers.answer import Answer
from runner.usage import PriceContext

SMALLEST = Decimal("1E-18")
"""The contract keeps 18 decimal places. Each component is rounded to them, half to even; the total adds those up."""

STANDARD_TIERS = {"default", "standard", "on_demand"}
"""How OpenAI, Anthropic and Groq say that a call was billed at list price."""

STANDARD_SPEEDS = {"standard"}

GEO_FACTORS = {"global": Decimal(1), "not_available": Decimal(1), "us": Decimal("1.1")}
"""Tokens of US-only inference cost 1.1 times the list price, which the catalogue does not know:
https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing"""

KINDS = {"cache_read": "cached", "cache_write": "cache_writes", "reasoning": "reasoning"}


class _Unpriced(Exception):
    """The catalogue cannot price this call exactly, and nearly is not good enough."""


def price(catalogue: str | None, model: str, answer: Answer, at: datetime, *, batch: bool = False) -> Cost:
    """Return what the answer cost in US dollars at that time; `priced` False where that is not known exactly.

    `catalogue` is the provider's id there. Billed is the model that served; `model`, the requested one, where the
    catalogue does not know that name. `batch`: the call went through the provider's batch endpoint.
    """
    if catalogue is None:
        return Cost(priced=False)
    try:
        return _cost(_find(catalogue, answer.served_model, model), answer, at, batch)
    except (LookupError, ValueError, _Unpriced):  # unknown model; counts that contradict each other; no such price
        return Cost(priced=False, catalogue=CATALOGUE)


def _cost(found: ModelInfo, answer: Answer, at: datetime, batch: bool) -> Cost:
    if answer.usage is None:
        raise _Unpriced
    factor = _geo_factor(answer.price_context)
    components: dict[str, Decimal] = defaultdict(Decimal)
    for unit, amount in _amounts(prices(found, at, _terms(answer, batch)), answer.usage, answer.price_context):
        components[_kind(unit)] += amount * (factor if unit.dimensions["family"] == "tokens" else 1)
    exact = {kind: _rounded(amount) for kind, amount in components.items()}
    return Cost(priced=True, total=sum(exact.values(), Decimal(0)), components=exact, catalogue=CATALOGUE)


def _find(catalogue: str, served: str | None, requested: str) -> ModelInfo:
    found = (served and find(catalogue, served)) or find(catalogue, requested)
    if not found:
        raise LookupError(requested)
    return found


def _terms(answer: Answer, batch: bool) -> dict[str, str]:
    """Return in what the call differs from list price, in the catalogue's words."""
    terms = {}
    if answer.service_tier and answer.service_tier not in STANDARD_TIERS | {"batch"}:
        terms["service_tier"] = answer.service_tier
    if answer.price_context.speed and answer.price_context.speed not in STANDARD_SPEEDS:
        terms["speed"] = answer.price_context.speed
    if batch or answer.service_tier == "batch":
        terms.update(BATCH)
    return terms


def _amounts(billed: Prices, usage: Usage, context: PriceContext) -> Iterator[tuple[UnitDef, Decimal]]:
    """Yield what each unit cost. Tokens of a special kind count there alone, not in the general kind as well."""
    reported = _reported(usage, context)
    priced = {unit.usage_key: unit for unit, _ in billed if unit.usage_key in reported}
    if not _needs_price(reported) <= priced.keys():
        raise _Unpriced
    counts = compute_leaf_values(set(priced), SimpleNamespace(**reported), priced)
    counts["requests"] = 1
    for unit, unit_price in billed:
        if count := counts.get(unit.usage_key):
            yield unit, calc_unit_price(unit_price, count, usage.input, unit.per)


def _reported(usage: Usage, context: PriceContext) -> dict[str, int]:
    """Return the counts above zero, under the catalogue's names."""
    if context.input_audio and usage.cached:
        raise _Unpriced  # how much of the audio was read from the cache is not reported
    counts = {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cached,
        "cache_write_tokens": usage.cache_writes,
        "output_reasoning_tokens": usage.reasoning,
        "cache_write_1h_tokens": context.cache_writes_1h,
        "input_audio_tokens": context.input_audio,
        "output_audio_tokens": context.output_audio,
        "web_searches": context.web_searches,
    }
    return {key: count for key, count in counts.items() if count}


def _needs_price(reported: Mapping[str, int]) -> set[str]:
    """Return what is billed apart: without a price of its own the library bills it as something cheaper, or not."""
    return reported.keys() - {"cache_read_tokens", "cache_write_tokens", "output_reasoning_tokens"}


def _kind(unit: UnitDef) -> str:
    """Name a component: input, output, cached, cache_writes, with its modality where it has one."""
    said = unit.dimensions
    if said["family"] != "tokens":
        return unit.usage_key
    kind = KINDS.get(said.get("token_type", ""), said["direction"])
    return f"{kind}_{said['modality']}" if "modality" in said else kind


def _geo_factor(context: PriceContext) -> Decimal:
    if (factor := GEO_FACTORS.get(context.inference_geo or "global")) is None:
        raise _Unpriced
    return factor


def _rounded(amount: Decimal) -> Decimal:
    exponent = amount.as_tuple().exponent
    return amount.quantize(SMALLEST) if isinstance(exponent, int) and exponent < -18 else amount
