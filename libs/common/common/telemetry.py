"""Traces: one for each run, through HTTP and Kafka headers. Without a collector to send them to there are none.

Spans name runs, workspaces, providers and models. No text of a prompt or an answer, no key and no error's message is
ever in one: an error is its code alone.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
)
from opentelemetry.trace import Span as Span  # noqa: PLC0414 - services take it from here: I2
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from common.errors import TallyrunError
from common.redaction import SECRETS
from common.settings import ServiceSettings

if TYPE_CHECKING:  # the SDK is loaded by who exports: it takes 0.2 s and 9 MB
    from opentelemetry.sdk.trace import TracerProvider

TRACE_HEADER = "traceparent"
"""The trace that a request or a record belongs to, as W3C Trace Context writes it."""

RUN_ID, WORKSPACE_ID = "tallyrun.run_id", "tallyrun.workspace_id"
PROVIDER, MODEL, ERROR = "gen_ai.provider.name", "gen_ai.request.model", "error.type"
STATUS_CODE = "http.response.status_code"
"""Attributes by OpenTelemetry's semantic conventions, where those have a word for it."""

SCOPE, EXPORTER = "tallyrun", "opentelemetry.exporter"
LAST_EXPORT_SECONDS = 0.5
"""How long a service that stops waits for a collector; what that has not taken by then is lost."""

Parent = Context
"""The span that another one belongs to, whichever service it is in."""

Kind = Literal["internal", "server", "client", "producer", "consumer"]
_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}

_W3C = TraceContextTextMapPropagator()
Block = AbstractContextManager[Span]

NO_SPAN: Block = nullcontext(INVALID_SPAN)
"""What a block has that is no span."""

_SAMPLED = 1

_run_id: ContextVar[str | None] = ContextVar("run_id", default=None)


class Tracing:
    """Makes spans once it is started, and none before."""

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    @property
    def on(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    def start(self, service: str, settings: ServiceSettings) -> None:
        """Export to the collector that the settings name, if they do; the SDK reads the other OTEL_… variables."""
        endpoint = settings.otel_exporter_otlp_endpoint
        if not endpoint:
            return
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        named = Resource.create({SERVICE_NAME: f"tallyrun-{service}"})
        provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
        logging.getLogger(EXPORTER).setLevel(logging.ERROR)  # one line for each batch that was lost, not for each try
        self.export_by(provider)

    def export_by(self, provider: "TracerProvider | None") -> None:
        """Make spans of this provider from now on; of None, none."""
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer(SCOPE)

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        parent: Parent | None = None,
        attributes: Mapping[str, str | int] | None = None,
    ) -> Block:
        """Return a block's span, a child of the parent or of the span around it; an error that leaves it marks it."""
        if self._tracer is None or (parent is None and _dropped(get_current_span())):
            return NO_SPAN
        return _block(self._tracer, name, _KINDS[kind], parent, attributes)

    def past(self, name: str, parent: Parent, began: int, link: SpanContext, attributes: Mapping[str, str]) -> None:
        """Make a span of what began then (ns since 1970) and is over now, as a part of another trace's span too."""
        if self._tracer is not None:
            span = self._tracer.start_span(
                name, parent, SpanKind.CONSUMER, start_time=began, links=[Link(link)], attributes=attributes
            )
            span.end()

    async def close(self) -> None:
        """Send what is still here, within half a second."""
        if self._provider is None:
            return
        # Not asyncio's own threads: the process would wait for those as long as the exporter does, ten seconds.
        flushing = threading.Thread(target=self._provider.force_flush, daemon=True)
        flushing.start()
        await asyncio.to_thread(flushing.join, LAST_EXPORT_SECONDS)


TRACING = Tracing()
"""This process's own, as its log and its metrics are the process's."""


@contextmanager
def _block(
    tracer: Tracer, name: str, kind: SpanKind, parent: Parent | None, attributes: Mapping[str, str | int] | None
) -> Iterator[Span]:
    with tracer.start_as_current_span(
        name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield span
        except BaseException as error:
            fail(span, error.code if isinstance(error, TallyrunError) else type(error).__name__)
            raise


def _dropped(around: Span) -> bool:
    """Whether the trace that we are in is not kept: a part of it need not be made to be dropped as well."""
    context = around.get_span_context()
    return context.is_valid and not context.trace_flags.sampled


def fail(span: Span, code: str) -> None:
    """Mark a span as failed. By a code alone: a message may quote a prompt."""
    span.set_attribute(ERROR, code)
    span.set_status(Status(StatusCode.ERROR))


def answered(span: Span, method: str, route: str, status: int) -> None:
    """Say what a request was, and what came of it. By its route: a path may hold ids, and a query anything."""
    if not span.is_recording():
        return
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route, STATUS_CODE: status})
    if status >= 500:
        fail(span, str(status))


def about(run_id: UUID, workspace_id: UUID, provider: str, model: str) -> None:
    """Say which run it is that this task works for to its end: its log lines and the span around carry it."""
    _run_id.set(str(run_id))
    name_run(get_current_span(), run_id, workspace_id, provider, model)


def name_run(span: Span, run_id: UUID, workspace_id: UUID, provider: str, model: str) -> None:
    """Say which run a span is of."""
    if span.is_recording():
        span.set_attributes(run_attributes(run_id, workspace_id, provider, model))


def run_attributes(run_id: UUID, workspace_id: UUID, provider: str, model: str) -> dict[str, str]:
    """Return what says which run a span is of."""
    # Somebody will send a key as a model's name one day.
    named = {RUN_ID: str(run_id), WORKSPACE_ID: str(workspace_id), PROVIDER: provider}
    return {**named, MODEL: SECRETS.redacted(model)}


def trace_headers() -> dict[str, str]:
    """Return what tells the next service which span it works for; nothing outside of one."""
    carrier: dict[str, str] = {}
    if TRACING.on:
        _W3C.inject(carrier)
        carrier.pop("tracestate", None)
    return carrier


def record_headers() -> list[tuple[str, bytes]]:
    """Return the same as headers of a record."""
    return [(name, value.encode()) for name, value in trace_headers().items()]


def parent_of(headers: Sequence[tuple[str, bytes]] | Sequence[tuple[bytes, bytes]]) -> Parent | None:
    """Return the span that these headers of a record or a request name, if they do and anybody wants to know."""
    if not TRACING.on:
        return None
    for name, value in headers:
        if name in (TRACE_HEADER, TRACE_HEADER.encode()):
            return _W3C.extract({TRACE_HEADER: value.decode("latin-1")})
    return None


def sampled(parent: Parent | None) -> bool:
    """Whether the spans of that trace are kept."""
    return parent is not None and bool(get_current_span(parent).get_span_context().trace_flags & _SAMPLED)


def correlation() -> dict[str, str]:
    """Return what connects a log line of this task with others: its run, and its trace."""
    found = {}
    if (run_id := _run_id.get()) is not None:
        found["run_id"] = run_id
    context = get_current_span().get_span_context()
    if context.is_valid:
        found |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    return found
