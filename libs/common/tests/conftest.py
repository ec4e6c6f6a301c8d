"""What more than one test of common changes for a whole process, and puts back."""

import logging
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from common.logs import QUIET
from common.telemetry import TRACING


@pytest.fixture
def logging_kept() -> Iterator[None]:
    """Put everything back that `configure_logging` changes for a whole process."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level, levels = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in QUIET}
    yield
    sys.excepthook = hook
    logging.captureWarnings(False)
    root.handlers, root.level = handlers, level
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What was recorded, while tracing is on."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    TRACING.export_by(provider)
    yield exporter
    TRACING.export_by(None)
