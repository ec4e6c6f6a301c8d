"""What an execution costs when it is priced again: by another catalogue, and at a workspace's discounts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import ValidationError

from analytics.money import EXACT, total
from common.contracts.reprice_v1 import RepriceAsked
from common.contracts.runs_v1 import Cost, PriceContext, Usage
from common.pricing import Call, price, rounded

Row = Mapping[str, Any]

USAGE = tuple(Usage.model_fields)


class Repriced(NamedTuple):
    """What an execution costs now, at list price too where that differs. `kept`: the catalogue could not price it."""

    cost: Cost
    list_components: Mapping[str, Decimal]
    kept: bool


class Prices:
    """Prices executions as one is asked to: a pure function of what the runner recorded, so twice is once.

    A price is never taken away: what cannot be priced anew keeps what was recorded, and a discount is off that.
    """

    def __init__(self, catalogues: Mapping[str, str | None], asked: RepriceAsked) -> None:
        self._catalogues = catalogues
        self._asked = asked

    def __call__(self, row: Row) -> Repriced:
        """Return what the execution costs."""
        listed = self._installed(row) if self._asked.catalogue == "installed" else None
        base = listed or recorded(row)
        percent = self._percent(row)
        kept = listed is None and self._asked.catalogue == "installed" and base.total != 0
        if not percent or not base.priced:
            return Repriced(base, {}, kept)
        return Repriced(_discounted(base, percent), base.components or {"total": base.total or Decimal(0)}, kept)

    def _installed(self, row: Row) -> Cost | None:
        """Return the cost by the installed catalogue; None where it, or what the run recorded, does not tell."""
        context, catalogue = _context(row), self._catalogues.get(row["provider"])
        if context is None or catalogue is None:
            return None
        call = Call(
            model=row["model"],
            served_model=row["served_model"] or None,
            service_tier=row["service_tier"] or None,
            usage=Usage(**{name: row[name] for name in USAGE}),
            context=context,
        )
        cost = price(catalogue, call, datetime.fromtimestamp(row["completed_at"] / 1000, UTC))
        return cost if cost.priced else None

    def _percent(self, row: Row) -> Decimal:
        discounts, model = self._asked.discounts, row["model"]
        return discounts.get(f"{row['provider']}/{model}", discounts.get(model, Decimal(0)))


def current(row: Row) -> Cost:
    """Return what the execution costs as of now."""
    return _cost(row, "")


def recorded(row: Row) -> Cost:
    """Return what the execution cost as the runner recorded it."""
    return _cost(row, "recorded_" if row["is_repriced"] else "")


def _cost(row: Row, prefix: str) -> Cost:
    amount = row[f"{prefix}total"]
    return Cost(
        priced=row[f"{prefix}priced"],
        total=amount if row[f"{prefix}priced"] else None,
        components=row[f"{prefix}components"],
        catalogue=row[f"{prefix}catalogue"],
        cache_savings=row[f"{prefix}cache_savings"],
    )


def _context(row: Row) -> PriceContext | None:
    try:
        return PriceContext.model_validate_json(row["price_context"]) if row["price_context"] else None
    except ValidationError:  # stored as received: what is none cannot price a run
        return None


def _discounted(cost: Cost, percent: Decimal) -> Cost:
    """Return the cost with so much off each component; the total adds those up."""
    share = EXACT.divide(100 - percent, Decimal(100))
    components = {kind: rounded(EXACT.multiply(amount, share)) for kind, amount in cost.components.items()}
    amount = total(components.values()) if components else rounded(EXACT.multiply(cost.total or Decimal(0), share))
    saved = None if cost.cache_savings is None else rounded(EXACT.multiply(cost.cache_savings, share))
    return cost.model_copy(update={"total": amount, "components": components, "cache_savings": saved})
