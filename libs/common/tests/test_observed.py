"""Requests as operators see them: by routes, of which there are few, however many paths callers make up."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from common.errors import Unavailable
from common.http import service_app
from common.telemetry import TRACING


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    TRACING.export_by(provider)
    yield exporter
    TRACING.export_by(None)


@pytest.fixture
async def http(spans: InMemorySpanExporter) -> AsyncIterator[httpx2.AsyncClient]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    async def ready() -> None:
        raise Unavailable("not yet")

    app = service_app("Tallyrun test", lifespan, ready, 1000)

    @app.get("/things/{name}")
    async def thing(name: str) -> str:
        if name == "broken":
            raise RuntimeError(f"a fault that quotes {name}")
        return name

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def count(method: str, route: str, status: int) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("tallyrun_http_request_duration_seconds_count", labels) or 0


@pytest.mark.parametrize(
    ("method", "path", "series"),
    [
        ("GET", "/things/{}", ("GET", "/things/{name}", 200)),
        ("GET", "/things/broken", ("GET", "/things/{name}", 500)),
        ("GET", "/{}/nowhere", ("GET", "none", 404)),
        ("BREW", "/{}", ("other", "none", 404)),
        ("GET", "/health/ready", ("GET", "/health/ready", 503)),
    ],
)
async def test_a_request_is_counted_by_its_route(
    http: httpx2.AsyncClient, method: str, path: str, series: tuple[str, str, int]
) -> None:
    before = count(*series)
    for _ in range(2):
        assert (await http.request(method, path.format(uuid4().hex))).status_code == series[2]
    assert count(*series) == before + 2


async def test_a_request_is_a_span_of_its_callers_trace(http: httpx2.AsyncClient, spans: InMemorySpanExporter) -> None:
    word = uuid4().hex
    caller = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    await http.get(f"/things/{word}?key={word}", headers=caller)
    await http.get("/things/broken")
    await http.get("/health/live")
    well, broken = spans.get_finished_spans()
    assert well.parent is not None
    assert (well.parent.trace_id, well.parent.span_id) == (int("1" * 32, 16), int("2" * 16, 16))
    assert (well.name, well.status.is_unset) == ("GET /things/{name}", True)
    assert word not in well.to_json()
    assert broken.parent is None
    assert broken.attributes is not None
    assert broken.attributes["error.type"] in {"500", "RuntimeError"}
    assert "quotes" not in broken.to_json()


async def test_a_service_says_which_one_it_is(http: httpx2.AsyncClient) -> None:
    text = (await http.get("/metrics")).text
    assert 'tallyrun_build_info{service="test",version="' in text
    assert "_created" not in text
