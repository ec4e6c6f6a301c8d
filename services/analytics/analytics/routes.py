"""HTTP in: the gateway asks, for the workspace it names."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from analytics.database import Database
from analytics.keys import key_usage
from analytics.outputs import output_tokens
from analytics.overview import Overviews
from analytics.runs import Runs, RunStatus
from common.callers import Callers
from common.contracts.answers_v1 import OutputTokens, Overview, Period, RunDetail, RunPage, Success, UsageCount
from common.contracts.runs_v1 import Millis
from common.http import json_response
from common.singleflight import Singleflight

AUDIENCE = "analytics"
LARGEST_PAGE = 200


def routes(callers: Callers, database: Database, overviews: Overviews, runs: Runs) -> APIRouter:
    """Return the questions that the gateway may ask."""
    router = APIRouter(prefix="/workspaces/{workspace}", route_class=callers.only("gateway"))
    flights = Singleflight[bytes]()

    @router.get("/overview", response_model=Success[Overview])
    async def overview(workspace: UUID, period: Period = "30d") -> Response:
        async def answer() -> bytes:
            return Success(data=await overviews.overview(workspace, period)).encode()

        return json_response(await flights.ask((workspace, period), answer))

    @router.get("/runs", response_model=Success[RunPage])
    async def page(
        workspace: UUID,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 50,
        cursor: str | None = None,
        status: RunStatus | None = None,
        model: str | None = None,
    ) -> Response:
        return json_response(Success(data=await runs.page(workspace, limit, cursor, status, model)).encode())

    @router.get("/runs/{run_id}", response_model=Success[RunDetail])
    async def detail(workspace: UUID, run_id: UUID, accepted_at: Millis | None = None) -> Response:
        return json_response(Success(data=await runs.detail(workspace, run_id, accepted_at)).encode())

    @router.get("/key-usage", response_model=Success[list[UsageCount]])
    async def keys(workspace: UUID) -> Response:
        return json_response(Success(data=await key_usage(database, workspace)).encode())

    @router.get("/output-tokens", response_model=Success[OutputTokens])
    async def outputs(workspace: UUID, provider: str, model: str) -> Response:
        return json_response(Success(data=await output_tokens(database, workspace, provider, model)).encode())

    return router
