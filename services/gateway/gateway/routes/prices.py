"""`GET /api/models`: what the models of the connected providers cost."""

from datetime import UTC, datetime
from decimal import Decimal

from fastapi import APIRouter, Request, Response

from common.catalogue import CATALOGUE, rate
from common.contracts.answers_v1 import Answer, Money, Success
from gateway.models import Models, Resolved
from gateway.routes.wire import data
from gateway.tokens import Tokens

MILLION = Decimal(1_000_000)


class PricedModel(Answer):
    """A model and the most that a million of its tokens cost at list price, in US dollars; None is unpriced."""

    model: str
    provider: str
    input: Money | None
    output: Money | None
    catalogue: str = CATALOGUE


class PriceRoutes:
    """Tells prices."""

    def __init__(self, tokens: Tokens, models: Models) -> None:
        self._tokens = tokens
        self._models = models
        self.router = APIRouter(prefix="/api/models", tags=["models"])
        self.router.add_api_route("", self.list, methods=["GET"], response_model=Success[list[PricedModel]])

    async def list(self, request: Request) -> Response:
        """Answer every model that the price catalogue knows of the connected providers, with its prices now."""
        caller = await self._tokens.caller(request, "viewer")
        now = datetime.now(UTC)
        return data([_priced(model, now) for model in await self._models.listed(caller.workspace_id)])


def _priced(model: Resolved, now: datetime) -> PricedModel:
    price = rate(model.spec.catalogue, model.model, now) if model.spec.catalogue else None
    return PricedModel(
        model=f"{model.spec.name}/{model.model}",
        provider=model.spec.name,
        input=None if price is None else price.input * MILLION,
        output=None if price is None else price.output * MILLION,
    )
