"""`/api/analytics`."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from common.contracts.answers_v1 import Period, Success
from common.contracts.overview_v1 import Overview
from common.contracts.product_v1 import Product
from common.contracts.usage_v1 import Latency, Usage, UsageAsked
from common.http import json_response
from gateway.analytics import Analytics
from gateway.product import product
from gateway.routes.wire import data
from gateway.tokens import Tokens
from gateway.vault import Vault


class AnalyticsRoutes:
    """Asks analytics about the caller's own workspace."""

    def __init__(self, tokens: Tokens, analytics: Analytics, vault: Vault) -> None:
        self._tokens = tokens
        self._analytics = analytics
        self._vault = vault
        self.router = APIRouter(prefix="/api/analytics", tags=["analytics"])
        self.router.add_api_route("/overview", self.overview, methods=["GET"], response_model=Success[Overview])
        self.router.add_api_route("/usage", self.usage, methods=["GET"], response_model=Success[Usage])
        self.router.add_api_route("/latency", self.latency, methods=["GET"], response_model=Success[Latency])
        self.router.add_api_route("/product", self.product, methods=["GET"], response_model=Success[Product])

    async def overview(self, request: Request, period: Period = "30d") -> Response:
        """Answer what the period's runs used and cost, and how that compares with the period before."""
        caller = await self._tokens.caller(request, "viewer")
        return json_response(await self._analytics.overview(caller.workspace_id, period))

    async def usage(self, request: Request, _: Annotated[UsageAsked, Query()]) -> Response:
        """Answer what runs used and cost: any days, by one or two dimensions, of those that pass the filters."""
        caller = await self._tokens.caller(request, "viewer")
        return json_response(await self._analytics.usage(caller.workspace_id, request.query_params.multi_items()))

    async def latency(self, request: Request, _: Annotated[UsageAsked, Query()]) -> Response:
        """Answer how long the runs took that succeeded: percentiles by one or two dimensions."""
        caller = await self._tokens.caller(request, "viewer")
        return json_response(await self._analytics.latency(caller.workspace_id, request.query_params.multi_items()))

    async def product(self, request: Request, period: Period = "30d") -> Response:
        """Answer how much of the product is used: keys connected, runs a day, users, cost per user, models."""
        caller = await self._tokens.caller(request, "viewer")
        return data(await product(self._vault, self._analytics, caller.workspace_id, period))
