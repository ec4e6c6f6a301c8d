"""What the runner counts. At module level, as the Prometheus client means it: the registry is the process's."""

from collections.abc import Mapping
from functools import cache

from aiokafka import TopicPartition
from prometheus_client import Counter, Gauge, Histogram

from common.contracts.runs_v1 import ORDERS, RunCompleted, Usage
from common.observed import SECONDS

MOST_MODELS = 200
"""Models that have series of their own; each has about ten."""

RUNS_ENDED = Counter("tallyrun_runner_runs_ended", "Runs carried out to their end", ["provider", "status"])
IN_FLIGHT = Gauge("tallyrun_runner_runs_in_flight", "Runs being carried out now")
IN_HAND = Gauge("tallyrun_runner_records_in_hand", "Records that wait or are being carried out", ["kind"])
PARKED = Gauge("tallyrun_runner_records_parked", "Bulk records left in the log for later")
QUEUED = Histogram(
    "tallyrun_runner_queued_seconds", "From a run's acceptance to its first call", ["kind"], buckets=SECONDS
)
CALLS = Counter("tallyrun_runner_calls", "Calls to providers", ["provider", "model", "outcome"])
CALL_SECONDS = Histogram("tallyrun_runner_call_duration_seconds", "Calls to providers", ["provider"], buckets=SECONDS)
RETRIES = Counter("tallyrun_runner_retries", "Calls that are to be made again", ["provider", "reason"])
TOKENS = Counter("tallyrun_runner_tokens", "Tokens, as providers count them", ["provider", "model", "kind"])
COST = Counter("tallyrun_runner_cost_dollars", "What runs cost, in US dollars", ["provider", "model"])
UNPRICED = Counter("tallyrun_runner_unpriced_runs", "Runs whose cost is not known", ["provider", "model"])
LEASES = Counter("tallyrun_runner_leases", "Leases for runs: held, or fetched from the vault", ["result"])
LEASE_FAILURES = Counter("tallyrun_runner_lease_failures", "Leases that the vault did not give", ["code"])
PROVIDER_OPEN = Gauge("tallyrun_runner_provider_circuit_open", "1 while a provider is not called", ["provider"])
KEYS_OPEN = Gauge("tallyrun_runner_key_circuits_open", "Provider keys that are not used, having been refused")
LAG = Gauge("tallyrun_runner_consumer_lag_records", "Records not yet finished", ["topic", "partition"])
HALTED = Gauge("tallyrun_runner_halted", "1 once this runner has stopped reading, since nothing it reads is a run")
REJECTED = Counter("tallyrun_runner_rejected_records", "Records set aside because they are no runs", ["topic"])
UNDELIVERED = Counter("tallyrun_runner_undelivered_replies", "Replies that no topic of the publisher's own took")

HELD, FETCHED = LEASES.labels("held"), LEASES.labels("fetched")

# A lookup of a series by its labels takes a microsecond, and a run has a dozen.
_ended, _queued = cache(RUNS_ENDED.labels), cache(QUEUED.labels)
_calls, _call_seconds = cache(CALLS.labels), cache(CALL_SECONDS.labels)
_tokens, _cost, _unpriced = cache(TOKENS.labels), cache(COST.labels), cache(UNPRICED.labels)


class Models:
    """Which models have series of their own. Tenants choose their names, so not every word may make one.

    A model that a provider has answered for exists. The first 200 of them are told apart, what comes then is "other".
    """

    def __init__(self, most: int = MOST_MODELS) -> None:
        self._most = most
        self._known: set[tuple[str, str]] = set()

    def name(self, provider: str, model: str, *, answered: bool) -> str:
        """Return what the model is counted as."""
        if (provider, model) in self._known:
            return model
        if answered and len(self._known) < self._most:
            self._known.add((provider, model))
            return model
        return "other"


MODELS = Models()


def called(provider: str, model: str, outcome: str, seconds: float) -> None:
    """Count a call; its outcome is "succeeded", or the code of its failure."""
    _calls(provider, MODELS.name(provider, model, answered=outcome == "succeeded"), outcome).inc()
    _call_seconds(provider).observe(seconds)


def ended(run: RunCompleted, *, bulk: bool) -> None:
    """Count a run's end."""
    _ended(run.provider, run.status).inc()
    if run.operation in ORDERS:
        return
    if run.attempts:
        _queued("bulk" if bulk else "interactive").observe(run.queued_ms / 1000)
    model = MODELS.name(run.provider, run.model, answered=run.response is not None)
    _count_tokens(run.provider, model, run.usage)
    if not run.cost.priced:
        _unpriced(run.provider, model).inc()
    elif run.cost.total:
        _cost(run.provider, model).inc(float(run.cost.total))


def _count_tokens(provider: str, model: str, usage: Usage) -> None:
    for kind, tokens in usage:
        if tokens:
            _tokens(provider, model, kind).inc(tokens)


def lags(records: Mapping[TopicPartition, int]) -> None:
    """Say how far behind this runner is, in the partitions that it has and in no others."""
    LAG.clear()
    for place, count in records.items():
        LAG.labels(place.topic, place.partition).set(count)
