"""The last span of a run's trace: that it is in the books."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from analytics.ingest import COMPLETED_TOPICS
from analytics.telemetry import BATCHES
from common.kafka import Record
from common.telemetry import RUN_ID, TRACING, Parent, parent_of, sampled

MOST_SPANS = 256
"""Runs of one batch that get a span of their own: a backlog is read 20,000 records at a time."""

RECORDS = "messaging.batch.message_count"


@contextmanager
def storing(records: Sequence[Record]) -> Iterator[None]:
    """Time a batch and trace it: one span for all of it, and one in the trace of each run that ended in it."""
    began = time.time_ns()
    with BATCHES.time(), TRACING.span("store batch", "consumer", attributes={RECORDS: len(records)}) as batch:
        yield
    for ended in islice(_sampled(records), MOST_SPANS):
        TRACING.past("store", ended.parent, began, batch.get_span_context(), {RUN_ID: str(ended.run_id)})


class _Ended(NamedTuple):
    run_id: UUID
    parent: Parent


def _sampled(records: Sequence[Record]) -> Iterator[_Ended]:
    """Yield the ends of runs whose traces are kept."""
    if not TRACING.on:
        return
    for record in records:
        if record.topic not in COMPLETED_TOPICS or record.key is None or len(record.key) != 16:
            continue
        parent = parent_of(record.headers)
        if parent is not None and sampled(parent):
            yield _Ended(UUID(bytes=record.key), parent)
