"""Traces in one process: what a span says, what goes into headers, and what is never said."""

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from io import StringIO
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from common.errors import NoApiKey
from common.logs import configure_logging
from common.settings import ServiceSettings
from common.telemetry import (
    MODEL,
    RUN_ID,
    TRACE_HEADER,
    TRACING,
    about,
    correlation,
    parent_of,
    record_headers,
    sampled,
)

SECRET = f"key-{uuid4().hex}"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What was recorded, while tracing is on."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    TRACING.export_by(provider)
    yield exporter
    TRACING.export_by(None)


def test_without_a_collector_nothing_is_traced() -> None:
    TRACING.start("test", ServiceSettings())
    with TRACING.span("something") as span:
        copy_context().run(about, uuid4(), uuid4(), "openai", "gpt-4o")
        assert not span.is_recording()
        assert record_headers() == []
    assert parent_of([(TRACE_HEADER, b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01")]) is None


def test_a_record_carries_the_span_that_it_was_published_in(spans: InMemorySpanExporter) -> None:
    with TRACING.span("publish", "producer"):
        headers = record_headers()
    parent = parent_of([("type", b"x"), *headers])
    assert sampled(parent)
    with TRACING.span("run", "consumer", parent):
        pass
    publish, run = spans.get_finished_spans()
    assert run.parent is not None
    assert publish.context is not None
    assert (run.parent.span_id, run.parent.trace_id) == (publish.context.span_id, publish.context.trace_id)


def test_a_trace_that_is_not_sampled_stays_so(spans: InMemorySpanExporter) -> None:
    TRACING.export_by(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    with TRACING.span("request"), TRACING.span("publish"):
        assert not sampled(parent_of(record_headers()))
        assert correlation().keys() == {"trace_id", "span_id"}, "its logs can be connected all the same"


@pytest.mark.parametrize("value", [b"", b"nonsense", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
def test_a_header_that_is_no_trace_begins_a_new_one(spans: InMemorySpanExporter, value: bytes) -> None:
    parent = parent_of([(TRACE_HEADER, value)])
    assert not sampled(parent)
    with TRACING.span("run", "consumer", parent):
        pass
    [run] = spans.get_finished_spans()
    assert run.parent is None


def test_a_failure_is_told_by_its_code_alone(spans: InMemorySpanExporter) -> None:
    for error in (NoApiKey(f"said {SECRET}"), ValueError(f"said {SECRET}")):
        with pytest.raises(type(error)), TRACING.span("work"):
            raise error
    first, second = spans.get_finished_spans()
    assert [span.attributes and span.attributes["error.type"] for span in (first, second)] == [
        "no_api_key",
        "ValueError",
    ]
    assert not first.status.is_ok
    assert SECRET not in first.to_json() + second.to_json()
    assert not first.events


def test_a_key_sent_as_a_model_is_hidden(spans: InMemorySpanExporter) -> None:
    with TRACING.span("run"):
        copy_context().run(about, run := uuid4(), uuid4(), "openai", f"sk-{uuid4().hex}")
    [span] = spans.get_finished_spans()
    assert span.attributes is not None
    assert (span.attributes[RUN_ID], span.attributes[MODEL]) == (str(run), "[redacted]")


async def test_a_log_line_names_its_run_and_its_trace(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, run, other = StringIO(), uuid4(), uuid4()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    monkeypatch.setattr("sys.stderr", written)
    configure_logging("test", "INFO")
    try:
        logging.getLogger("test").info("nothing is known")
        with TRACING.span("run") as span:
            about(run, uuid4(), "openai", "gpt-4o")
            logging.getLogger("test").info("of the run")
            logging.getLogger("test").info("of another one", extra={"run_id": str(other)})
    finally:
        root.handlers, root.level = before[0], before[1]
    bare, own, named = map(json.loads, written.getvalue().splitlines())
    assert bare.keys() == {"time", "level", "logger", "message", "service"}
    trace = span.get_span_context()
    expected = (str(run), f"{trace.trace_id:032x}", f"{trace.span_id:016x}")
    assert (own["run_id"], own["trace_id"], own["span_id"]) == expected
    assert named["run_id"] == str(other)


async def test_a_collector_that_does_not_answer_holds_up_no_end(spans: InMemorySpanExporter) -> None:
    answered, asked = threading.Event(), threading.Event()

    class Frozen(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            asked.set()
            answered.wait(60)
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Frozen()))
    TRACING.export_by(provider)
    with TRACING.span("the last one"):
        pass
    await TRACING.close()
    assert asked.is_set()
    assert not answered.is_set()
    answered.set()
    provider.shutdown()


def test_the_sampler_must_be_one_that_is_known() -> None:
    with pytest.raises(ValueError, match="otel_traces_sampler"):
        ServiceSettings.model_validate({"otel_traces_sampler": "sometimes"})
