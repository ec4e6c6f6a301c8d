"""What the gateway counts. At module level, as the Prometheus client means it: the registry is the process's."""

from prometheus_client import Counter

ACCEPTED = Counter("tallyrun_gateway_runs_accepted", "Runs the broker acknowledged", ["mode"])
ENDED = Counter("tallyrun_gateway_runs_ended", "Synchronous runs, by how they were answered", ["code"])
CONNECTS = Counter("tallyrun_gateway_connects", "Attempts to connect a provider key, by outcome", ["code"])
REPLAYS = Counter("tallyrun_gateway_replays", "Rejected records that were to be replayed, by outcome", ["outcome"])
