"""What analytics counts. At module level, as the Prometheus client means it: the registry is the process's."""

import math
from collections.abc import Callable, Mapping
from functools import cache

from aiokafka import TopicPartition
from prometheus_client import Counter, Gauge, Histogram

from common.ids import now_ms
from common.observed import SECONDS

STORED = Counter("tallyrun_analytics_records", "Records read from Kafka and stored or passed over")
BATCHES = Histogram(
    "tallyrun_analytics_batch_duration_seconds", "Batches of records, stored and committed", buckets=SECONDS
)
WAITS = Counter("tallyrun_analytics_database_waits", "Times that a batch had to wait for the database")
REJECTED = Counter("tallyrun_analytics_rejected_records", "Records set aside to runs.rejected.v1")
SEALED_HOURS = Counter("tallyrun_analytics_sealed_hours", "Hours whose usage was recomputed")
SEALS = Histogram("tallyrun_analytics_seal_duration_seconds", "Seals that had something to do", buckets=SECONDS)
SEAL_FAILURES = Counter("tallyrun_analytics_seal_failures", "Seals that failed; each is tried again")
QUERIES = Histogram("tallyrun_analytics_query_duration_seconds", "Queries, by their file", ["query"], buckets=SECONDS)
LAG = Gauge("tallyrun_analytics_consumer_lag_records", "Records not yet stored", ["topic", "partition"])
WATERMARK_AGE = Gauge(
    "tallyrun_analytics_watermark_age_seconds", "How long ago the time was up to which everything is stored"
)

_lag = cache(LAG.labels)


def lags(records: Mapping[TopicPartition, int]) -> None:
    """Say how far behind the whole group is."""
    for place, count in records.items():
        _lag(place.topic, place.partition).set(count)


def watch_age(read_up_to: Callable[[], int]) -> None:
    """Tell at each scrape how old the watermark (UTC ms; 0: not known yet) is."""
    WATERMARK_AGE.set_function(lambda: (now_ms() - up_to) / 1000 if (up_to := read_up_to()) else math.nan)
