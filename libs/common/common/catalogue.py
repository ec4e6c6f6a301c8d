"""The price catalogue: which models a provider has, and what they cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache

from genai_prices import __version__, types
from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
from genai_prices.data_units import unit_data
from genai_prices.units import UnitDef, UnitRegistry

CATALOGUE = f"genai-prices {__version__}"

Prices = list[tuple[UnitDef, Decimal | types.TieredPrices]]


@dataclass(frozen=True)
class Rate:
    """The most that a token costs at list price, in US dollars, and what a call costs besides its tokens.

    Where a price rises with the length of the input it is the highest one. Input that is read from a cache is cheaper,
    input that is written into one dearer.
    """

    input: Decimal
    output: Decimal
    request: Decimal = Decimal(0)


def models_of(catalogue: str) -> list[str]:
    """Return the names of this provider's models, sorted; none if the catalogue does not know the provider.

    Entries that stand for a family of names (`ft:gpt-4o`) are no model that could be asked for.
    """
    provider = _provider(catalogue)
    return sorted(model.id for model in provider.models if knows(catalogue, model.id)) if provider else []


def knows(catalogue: str, model: str) -> bool:
    """Whether the catalogue has a model of that name, or a dated version or alias of one, for this provider."""
    return find(catalogue, model) is not None


BATCH: Mapping[str, str] = {"processing": "batch"}
"""The terms of a provider's own batches. Anthropic's `service_tier: batch` matches nothing, and would bill double."""


def rate(catalogue: str, model: str, at: datetime, *, batch: bool = False) -> Rate | None:
    """Return what this model's tokens cost at that time; None where the catalogue does not say it of both kinds.

    `batch`: through the provider's batch endpoint.
    """
    if (found := find(catalogue, model)) is None:
        return None
    try:
        listed = prices(found, at, BATCH if batch else {})
    except LookupError:
        return None
    highest = {unit.usage_key: _highest(price) / unit.per for unit, price in listed}
    if not highest.keys() >= {"input_tokens", "output_tokens"}:
        return None
    return Rate(highest["input_tokens"], highest["output_tokens"], highest.get("requests", Decimal(0)))


@lru_cache(maxsize=4096)  # bounded here, since the library's own cache grows with every name that callers make up
def find(catalogue: str, model: str) -> types.ModelInfo | None:
    """Return the catalogue's entry for what this provider calls the model."""
    provider = _provider(catalogue)
    return provider.find_model(model, all_providers=get_snapshot().providers) if provider else None


def prices(found: types.ModelInfo, at: datetime, terms: Mapping[str, str]) -> Prices:
    """Return the prices at that time under these terms; none are list price.

    `LookupError` for terms that the catalogue has no price for: the library would bill those at list price.
    """
    if terms and not any(_covers(variant, terms, at) for variant in found.price_variants or []):
        raise LookupError(f"{found.id} has no price under {terms}")
    by_key = vars(found.get_prices(at, dict(terms) or None))
    return [(_units().unit_for_price_key(key), value) for key, value in by_key.items() if value is not None]


def _provider(catalogue: str) -> types.Provider | None:
    return find_provider_by_id(get_snapshot().providers, catalogue)


def _covers(variant: types.PriceVariant, terms: Mapping[str, str], at: datetime) -> bool:
    return variant.when == terms and (variant.constraint is None or variant.constraint.active(at))


def _highest(price: Decimal | types.TieredPrices) -> Decimal:
    if isinstance(price, types.TieredPrices):
        return max(price.base, *(tier.price for tier in price.tiers))
    return price


@cache
def _units() -> UnitRegistry:
    return UnitRegistry(unit_data)
