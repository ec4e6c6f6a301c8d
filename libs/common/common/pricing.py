"""What a call cost: the catalogue's prices applied to what the provider reported. Unknown is unpriced, never 0."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace

from genai_prices.decompose import compute_leaf_values
from genai_prices.types import ModelInfo, calc_unit_price
from genai_prices.units import UnitDef

from common.catalogue import BATCH, CATALOGUE, Prices, find, prices
from common.contracts.runs_v1 import Cost, PriceContext, Usage

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


@dataclass(frozen=True)
class Call:
    """What decides a call's price. Billed is the model that served; `model`, the requested one, where that is unknown.

    `usage` is None where the provider reported none. `batch`: the call went through the provider's batch endpoint.
    """

    model: str
    served_model: str | None
    service_tier: str | None
    usage: Usage | None
    context: PriceContext = field(default_factory=PriceContext)
    batch: bool = False


def price(catalogue: str | None, call: Call, at: datetime) -> Cost:
    """Return what the call cost in US dollars at that time; `priced` False where that is not known exactly.

    `catalogue` is the provider's id there.
    """
    if catalogue is None:
        return Cost(priced=False)
    try:
        return _cost(_find(catalogue, call.served_model, call.model), call, at)
    except (LookupError, ValueError, _Unpriced):  # unknown model; counts that contradict each other; no such price
        return Cost(priced=False, catalogue=CATALOGUE)


def _cost(found: ModelInfo, call: Call, at: datetime) -> Cost:
    if call.usage is None:
        raise _Unpriced
    billed = prices(found, at, _terms(call))
    components = _components(billed, call.usage, call.context)
    exact = {kind: rounded(amount) for kind, amount in components.items()}
    return Cost(
        priced=True,
        total=sum(exact.values(), Decimal(0)),
        components=exact,
        catalogue=CATALOGUE,
        cache_savings=_savings(components, billed, call.usage, call.context),
    )


def _components(billed: Prices, usage: Usage, context: PriceContext) -> dict[str, Decimal]:
    factor = _geo_factor(context)
    components: dict[str, Decimal] = defaultdict(Decimal)
    for unit, amount in _amounts(billed, usage, context):
        components[_kind(unit)] += amount * (factor if unit.dimensions["family"] == "tokens" else 1)
    return components


def _savings(components: Mapping[str, Decimal], billed: Prices, usage: Usage, context: PriceContext) -> Decimal | None:
    """Return what the same call would have cost more, had the tokens read from the cache been any other input."""
    if not usage.cached:
        return None
    uncached = _components(billed, usage.model_copy(update={"cached": 0}), context)
    return rounded(sum(uncached.values(), Decimal(0)) - sum(components.values(), Decimal(0)))


def _find(catalogue: str, served: str | None, requested: str) -> ModelInfo:
    found = (served and find(catalogue, served)) or find(catalogue, requested)
    if not found:
        raise LookupError(requested)
    return found


def _terms(call: Call) -> dict[str, str]:
    """Return in what the call differs from list price, in the catalogue's words."""
    terms = {}
    if call.service_tier and call.service_tier not in STANDARD_TIERS | {"batch"}:
        terms["service_tier"] = call.service_tier
    if call.context.speed and call.context.speed not in STANDARD_SPEEDS:
        terms["speed"] = call.context.speed
    if call.batch or call.service_tier == "batch":
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


def rounded(amount: Decimal) -> Decimal:
    """Return the amount to the places that are kept."""
    exponent = amount.as_tuple().exponent
    return amount.quantize(SMALLEST) if isinstance(exponent, int) and exponent < -18 else amount
