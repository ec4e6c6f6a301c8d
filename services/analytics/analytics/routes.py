"""HTTP in: the gateway asks, for the workspace it names."""

import asyncio
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from analytics.batches import Batches, Span
from analytics.database import Database
from analytics.exports import Exports
from analytics.keys import key_usage
from analytics.latency import Latencies
from analytics.outcomes import Outcomes
from analytics.outputs import output_tokens
from analytics.overview import Overviews
from analytics.product import Products
from analytics.reprice import Repricing
from analytics.retention import Kept
from analytics.runs import Runs
from analytics.usage import Usages
from common.callers import Callers
from common.contracts.answers_v1 import OutputTokens, Period, RunDetail, RunPage, Success, UsageCount
from common.contracts.batch_answers_v1 import BatchAcceptance, BatchRows, BatchTotals
from common.contracts.outcomes_v1 import OutcomeGiven, RecordedOutcome
from common.contracts.overview_v1 import Overview
from common.contracts.product_v1 import ProductUse
from common.contracts.reprice_v1 import RepriceAsked, RepricePage
from common.contracts.runs_asked_v1 import RunsAsked
from common.contracts.runs_v1 import LATEST, Millis, Name
from common.contracts.usage_v1 import ExportAsked, Latency, Usage, UsageAsked
from common.http import json_response, streamed
from common.singleflight import Singleflight

AUDIENCE = "analytics"
LARGEST_BATCH_PAGE = 5000

Limit = Annotated[int, Query(ge=1, le=LARGEST_BATCH_PAGE)]
Batch = Annotated[Name, Path()]


def routes(callers: Callers, database: Database, overviews: Overviews, runs: Runs, batches: Batches) -> APIRouter:
    """Return the questions that the gateway may ask."""
    router = APIRouter(prefix="/workspaces/{workspace}", route_class=callers.only("gateway"))
    _about_runs(router, database, overviews, runs)
    _about_batches(router, batches)
    return router


def _about_runs(router: APIRouter, database: Database, overviews: Overviews, runs: Runs) -> None:
    flights = Singleflight[bytes]()

    @router.get("/overview", response_model=Success[Overview])
    async def overview(workspace: UUID, period: Period = "30d") -> Response:
        async def answer() -> bytes:
            return Success(data=await overviews.overview(workspace, period)).encode()

        return json_response(await flights.ask((workspace, period), answer))

    @router.get("/runs", response_model=Success[RunPage])
    async def page(workspace: UUID, asked: Annotated[RunsAsked, Query()]) -> Response:
        return json_response(Success(data=await runs.page(workspace, asked)).encode())

    @router.get("/runs/{run_id}", response_model=Success[RunDetail])
    async def detail(workspace: UUID, run_id: UUID, accepted_at: Millis | None = None) -> Response:
        return json_response(Success(data=await runs.detail(workspace, run_id, accepted_at)).encode())

    @router.get("/key-usage", response_model=Success[list[UsageCount]])
    async def keys(workspace: UUID) -> Response:
        return json_response(Success(data=await key_usage(database, workspace)).encode())

    @router.get("/output-tokens", response_model=Success[OutputTokens])
    async def outputs(workspace: UUID, provider: str, model: str) -> Response:
        return json_response(Success(data=await output_tokens(database, workspace, provider, model)).encode())


def _about_batches(router: APIRouter, batches: Batches) -> None:
    @router.get("/batches/{batch}/rows", response_model=Success[BatchRows])
    async def rows(
        workspace: UUID, batch: Batch, after: str | None = None, limit: Limit = 1000, *, texts: bool = False
    ) -> Response:
        page = await batches.rows(workspace, batch, after, limit, texts=texts)
        return json_response(await asyncio.to_thread(Success(data=page).encode))

    @router.get("/batches/{batch}/accepted", response_model=Success[BatchAcceptance])
    async def accepted(
        workspace: UUID,
        batch: Batch,
        since: Millis = 0,
        until: Millis = LATEST,
        after: UUID | None = None,
        limit: Limit = 1000,
    ) -> Response:
        page = await batches.accepted(workspace, batch, Span(since, until), after, limit)
        return json_response(Success(data=page).encode())

    @router.get("/batches/{batch}/totals", response_model=Success[BatchTotals])
    async def totals(workspace: UUID, batch: Batch, since: Millis = 0, until: Millis = LATEST) -> Response:
        return json_response(Success(data=await batches.totals(workspace, batch, Span(since, until))).encode())


def reprice_routes(callers: Callers, repricing: Repricing) -> APIRouter:
    """Return what changes figures: the gateway asks for admins alone."""
    router = APIRouter(prefix="/workspaces/{workspace}", route_class=callers.only("gateway"))

    @router.post("/reprice", response_model=Success[RepricePage])
    async def reprice(workspace: UUID, asked: RepriceAsked) -> Response:
        return json_response(Success(data=await repricing.page(workspace, asked)).encode())

    return router


def export_routes(callers: Callers, exports: Exports, kept: Kept) -> APIRouter:
    """Return the export: the gateway asks for texts only for those who may read them."""
    router = APIRouter(prefix="/workspaces/{workspace}", route_class=callers.only("gateway"))

    @router.get("/export", response_class=Response)
    async def export(workspace: UUID, asked: Annotated[ExportAsked, Query()]) -> Response:
        kept.check(asked, of_runs=True)
        return await streamed(exports.file(workspace, asked), "application/octet-stream")

    return router


def usage_routes(callers: Callers, usages: Usages, latencies: Latencies, products: Products, kept: Kept) -> APIRouter:
    """Return the questions about usage, of which identical ones in flight are answered once."""
    router = APIRouter(prefix="/workspaces/{workspace}", route_class=callers.only("gateway"))
    flights = Singleflight[bytes]()

    @router.get("/usage", response_model=Success[Usage])
    async def usage(workspace: UUID, asked: Annotated[UsageAsked, Query()]) -> Response:
        kept.check(asked)

        async def answer() -> bytes:
            return Success(data=await usages.answer(workspace, asked)).encode()

        return json_response(await flights.ask((workspace, "usage", asked.model_dump_json()), answer))

    @router.get("/latency", response_model=Success[Latency])
    async def latency(workspace: UUID, asked: Annotated[UsageAsked, Query()]) -> Response:
        kept.check(asked, of_runs=True)

        async def answer() -> bytes:
            return Success(data=await latencies.answer(workspace, asked)).encode()

        return json_response(await flights.ask((workspace, "latency", asked.model_dump_json()), answer))

    @router.get("/product", response_model=Success[ProductUse])
    async def product(workspace: UUID, period: Period = "30d") -> Response:
        async def answer() -> bytes:
            return Success(data=await products.answer(workspace, period)).encode()

        return json_response(await flights.ask((workspace, "product", period), answer))

    return router


def outcome_routes(callers: Callers, outcomes: Outcomes) -> APIRouter:
    """Return what the gateway may tell."""
    router = APIRouter(prefix="/workspaces/{workspace}", route_class=callers.only("gateway"))

    @router.post("/runs/{run_id}/outcome", response_model=Success[RecordedOutcome])
    async def outcome(workspace: UUID, run_id: UUID, given: OutcomeGiven) -> Response:
        return json_response(Success(data=await outcomes.record(workspace, run_id, given)).encode())

    return router
