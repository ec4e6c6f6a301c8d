"""A collector of traces on loopback: OTLP over HTTP as protobuf, kept as it came and as spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

CLIENT, CONSUMER, PRODUCER, SERVER = 3, 5, 4, 2
"""`SpanKind` on the wire."""

ERROR = 2
"""`StatusCode` on the wire."""


@dataclass(frozen=True)
class Seen:
    """A span; ids in hex, `parent` empty for a root."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    attributes: dict[str, str | int]
    failed: bool
    links: tuple[str, ...]
    nanoseconds: int


class Collector:
    """Keeps what is sent to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []

    @property
    def spans(self) -> list[Seen]:
        """Every span so far."""
        return [span for body in list(self.bodies) for span in _spans(body)]

    def of_run(self, run_id: str) -> list[Seen]:
        """Every span so far of the traces in which one names this run."""
        spans = self.spans
        traces = {span.trace for span in spans if span.attributes.get("tallyrun.run_id") == run_id}
        return [span for span in spans if span.trace in traces]


def _spans(body: bytes) -> Iterator[Seen]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = _attributes(resource.resource)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    service=str(service),
                    name=span.name,
                    kind=span.kind,
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes=_attributes(span),
                    failed=span.status.code == ERROR,
                    links=tuple(link.span_id.hex() for link in span.links),
                    nanoseconds=span.end_time_unix_nano - span.start_time_unix_nano,
                )


def _attributes(of: object) -> dict[str, str | int]:
    pairs = of.attributes  # type: ignore[attr-defined] # generated at run time
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Listen until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the test's output to itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
