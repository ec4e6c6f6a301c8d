"""Wires analytics."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from fastapi import APIRouter, FastAPI

from analytics.batches import Batches
from analytics.clickhouse import ClickHouse
from analytics.consumer import Consumer
from analytics.exports import Exports
from analytics.ingest import Ingest
from analytics.latency import Latencies
from analytics.outcomes import Outcomes
from analytics.overview import Overviews
from analytics.product import Products
from analytics.reprice import Repricing
from analytics.retention import Kept, retain
from analytics.routes import AUDIENCE, export_routes, outcome_routes, reprice_routes, routes, usage_routes
from analytics.runs import Runs
from analytics.sealer import Sealer
from analytics.settings import Settings
from analytics.usage import Usages
from analytics.waiting import WaitingRuns, waiting_routes
from analytics.watermark import Watermark
from common.admission import Admission
from common.callers import Callers
from common.errors import Unavailable
from common.http import Lifespan, Ready, service_app
from common.identity import Verifier
from common.kafka import Publisher, declare_topics
from common.providers import Providers
from common.singleflight import Singleflight

MAX_BODY_BYTES = 64 * 1024
"""Nobody posts more than an outcome here."""

READY_SECONDS = 3
"""A database that froze answers no probe; a longer wait here would only add a second timeout to the prober's."""


def create_app(settings: Settings) -> FastAPI:
    """Return the service, not started."""
    kafka, group = settings.kafka_bootstrap_servers, settings.consumer_group
    clickhouse = ClickHouse(
        settings.clickhouse_dsn.get_secret_value(), settings.clickhouse_database, settings.clickhouse_cluster
    )
    publisher, watermark = Publisher(kafka), Watermark(kafka, group)
    ingest = Ingest(clickhouse, Admission(Verifier.load(settings.identity_dir)))
    consumer = Consumer(kafka, group, settings.session_seconds, ingest, publisher)
    repricing = Repricing(clickhouse, {one.name: one.catalogue for one in Providers.load(settings).all()})
    app = service_app(
        "Tallyrun analytics",
        _lifespan(settings, clickhouse, repricing, publisher, consumer, watermark),
        _ready(clickhouse, consumer),
        MAX_BODY_BYTES,
        alive=consumer.heartbeat.check,
    )
    for router in _routers(settings, clickhouse, repricing, watermark):
        app.include_router(router)
    return app


def _lifespan(
    settings: Settings,
    clickhouse: ClickHouse,
    repricing: Repricing,
    publisher: Publisher,
    consumer: Consumer,
    watermark: Watermark,
) -> Lifespan:
    sealer = Sealer(clickhouse, consumer.owns_first)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(clickhouse.close)
            await clickhouse.prepare(migrate=settings.migrate_on_start)
            await retain(clickhouse, settings.text_retention_days, settings.run_retention_days)
            await repricing.finish()
            await declare_topics(settings.kafka_bootstrap_servers, settings.kafka_replication)
            for part in (publisher, watermark):
                await part.start()
                stack.push_async_callback(part.close)
            for work in (consumer.run(), watermark.run(), sealer.run()):
                stack.push_async_callback(_cancel, asyncio.create_task(work))
            yield

    return lifespan


def _ready(clickhouse: ClickHouse, consumer: Consumer) -> Ready:
    probes = Singleflight[list[dict[str, Any]]]()

    async def ready() -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await probes.ask("alive", lambda: clickhouse.rows("alive"))
        except TimeoutError as error:
            raise Unavailable("the analytics database does not answer", retry_after=5) from error
        if not consumer.running():
            raise Unavailable("the consumer is not connected", retry_after=1)

    return ready


def _routers(
    settings: Settings, clickhouse: ClickHouse, repricing: Repricing, watermark: Watermark
) -> Iterator[APIRouter]:
    def stored() -> int:
        return watermark.read_up_to

    callers = Callers.load(AUDIENCE, settings)
    call_ms = round(settings.call_seconds * 1000)
    runs, usages = Runs(clickhouse, watermark), Usages(clickhouse, stored, call_ms=call_ms)
    overviews = Overviews(clickhouse, stored, call_ms=call_ms)
    kept = Kept(settings.run_retention_days)
    yield routes(callers, clickhouse, overviews, runs, Batches(clickhouse, watermark))
    yield waiting_routes(callers, WaitingRuns(clickhouse, stored))
    yield usage_routes(callers, usages, Latencies(clickhouse, usages), Products(clickhouse, usages), kept)
    yield outcome_routes(callers, Outcomes(clickhouse, runs))
    yield reprice_routes(callers, repricing)
    yield export_routes(callers, Exports(clickhouse), kept)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
