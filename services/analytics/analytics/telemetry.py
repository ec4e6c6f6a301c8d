"""What operators see of analytics in /metrics."""

from prometheus_client import Counter, Summary

# Declared once a process, as prometheus_client's registry wants it.
STORED = Counter("tallyrun_analytics_records_total", "Records read from Kafka and stored or passed over.")
REJECTED = Counter("tallyrun_analytics_rejected_total", "Records set aside to runs.rejected.v1.")
SEALED_HOURS = Counter("tallyrun_analytics_sealed_hours_total", "Hours whose usage was recomputed.")
SEALS = Summary("tallyrun_analytics_seal_seconds", "Seals that had something to do, and their duration.")
