"""What the gateway counts. At module level, as the Prometheus client means it: the registry is the process's."""

from prometheus_client import Counter, Gauge, Histogram

from common.observed import SECONDS

ACCEPTED = Counter("tallyrun_gateway_runs_accepted", "Runs the broker acknowledged", ["mode"])
ENDED = Counter("tallyrun_gateway_runs_ended", "Synchronous runs, by how they were answered", ["code"])
WAITING = Gauge("tallyrun_gateway_runs_waited_for", "Callers that wait for a run's result or read it along")
PUBLISH_SECONDS = Histogram(
    "tallyrun_gateway_publish_duration_seconds", "Runs put onto the log, until the broker acknowledges", buckets=SECONDS
)
CONNECTS = Counter("tallyrun_gateway_connects", "Attempts to connect a provider key, by outcome", ["code"])
REPLAYS = Counter("tallyrun_gateway_replays", "Rejected records that were to be replayed, by outcome", ["outcome"])
FED = Counter("tallyrun_gateway_batch_rows_fed", "Rows of batches that the broker acknowledged")
OWNED = Gauge("tallyrun_gateway_batches_owned", "Batches that this replica owns")
BATCHES = Counter("tallyrun_gateway_batches_ended", "Batches that ended here, by their state", ["state"])
REFUSED = Counter("tallyrun_gateway_refused_requests", "Refused for a limit: rate, waiting, storage or load", ["limit"])
