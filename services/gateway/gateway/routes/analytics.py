"""`/api/analytics`."""

from fastapi import APIRouter, Request, Response

from common.contracts.answers_v1 import Overview, Period, Success
from common.http import json_response
from gateway.analytics import Analytics
from gateway.tokens import Tokens


class AnalyticsRoutes:
    """Asks analytics about the caller's own workspace."""

    def __init__(self, tokens: Tokens, analytics: Analytics) -> None:
        self._tokens = tokens
        self._analytics = analytics
        self.router = APIRouter(prefix="/api/analytics", tags=["analytics"])
        self.router.add_api_route("/overview", self.overview, methods=["GET"], response_model=Success[Overview])

    async def overview(self, request: Request, period: Period = "30d") -> Response:
        """Answer what the period's runs used and cost, and how that compares with the period before."""
        caller = await self._tokens.caller(request, "viewer")
        return json_response(await self._analytics.overview(caller.workspace_id, period))
