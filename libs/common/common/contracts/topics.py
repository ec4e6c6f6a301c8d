"""The topics, as data: who writes, who reads, how many partitions, how long they are kept."""

from dataclasses import dataclass

DAY_MS = 86_400_000
PARTITIONS = 12
"""Of requested, batched and completed alike: a completion goes to the partition number of its request.
Counts never change in place: growth is a new generation of these topics."""

MAX_MESSAGE_BYTES = 10 * 1024 * 1024
MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - 64 * 1024
"""A record's value; the rest is room for its key, its headers and the batch around it."""

MAX_BODY_BYTES = 8 * 1024 * 1024
"""A request body at the edge; what is left up to MAX_VALUE_BYTES is for the rest of the event."""


@dataclass(frozen=True)
class Topic:
    """One topic. `retention_ms` None means compacted: the last record of each key is kept."""

    name: str
    partitions: int
    retention_ms: int | None
    producers: tuple[str, ...]
    consumers: tuple[str, ...]

    def config(self, replication: int) -> dict[str, str]:
        """Return the broker's settings for this topic on a cluster that keeps `replication` copies."""
        kept = {"cleanup.policy": "compact"} if self.retention_ms is None else {"retention.ms": str(self.retention_ms)}
        return {
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            "min.insync.replicas": "2" if replication > 2 else "1",
            "unclean.leader.election.enable": "false",
            **kept,
        }


@dataclass(frozen=True)
class Generation:
    """Topics with equal partition counts: a completion goes to its request's partition number, in its generation."""

    requested: Topic
    batched: Topic
    completed: Topic

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All of them."""
        return self.requested, self.batched, self.completed


REQUESTED = Topic(
    "runs.requested.v1", PARTITIONS, 7 * DAY_MS, ("gateway", "internal services"), ("runner", "analytics")
)
BATCHED = Topic("runs.batched.v1", PARTITIONS, 7 * DAY_MS, ("gateway", "internal services"), ("runner", "analytics"))
COMPLETED = Topic("runs.completed.v1", PARTITIONS, 14 * DAY_MS, ("runner", "gateway"), ("analytics",))
REPLIES = Topic("runs.replies.v1", PARTITIONS, DAY_MS // 24, ("runner",), ("gateway",))
OWN_REPLIES = "runs.replies."
"""Reply topics of publishers' own begin with this and their workspace's id. Operators make them."""

REJECTED = Topic("runs.rejected.v1", 1, 14 * DAY_MS, ("runner", "analytics"), ("gateway",))
BATCHES_CANCELLED = Topic("batches.cancelled.v1", 1, None, ("gateway",), ("runner",))
"""Compacted: a run may come again from the rejected ones long after its batch was cancelled."""

CREDENTIALS_CHANGED = Topic("credentials.changed.v1", 1, 7 * DAY_MS, ("vault",), ("runner",))
AUDIT_HEADS = Topic("audit.heads.v1", 1, 400 * DAY_MS, ("vault",), ("operators",))
"""Not compacted: a row that was rewritten is found by any head published after it, the oldest included."""

GENERATIONS = (Generation(REQUESTED, BATCHED, COMPLETED),)
"""Every one is read; new runs are published to the last. Growth adds one with more partitions beside the others, which
may go once nothing in them is unread."""


def is_bulk(topic: str) -> bool:
    """Whether this is a generation's topic of bulk runs."""
    return any(topic == generation.batched.name for generation in GENERATIONS)


def is_requests(topic: str) -> bool:
    """Whether this is a generation's topic of runs, interactive or bulk."""
    return any(topic in (generation.requested.name, generation.batched.name) for generation in GENERATIONS)


def is_completions(topic: str) -> bool:
    """Whether this is a generation's topic of ends."""
    return any(topic == generation.completed.name for generation in GENERATIONS)


def completed_for(topic: str) -> str:
    """Return where the ends of this topic's runs go; `LookupError` if it carries none."""
    for generation in GENERATIONS:
        if topic in (generation.requested.name, generation.batched.name):
            return generation.completed.name
    raise LookupError(f"{topic} carries no runs")


TOPICS = (
    *(topic for generation in GENERATIONS for topic in generation.topics),
    *(REPLIES, REJECTED, BATCHES_CANCELLED, CREDENTIALS_CHANGED, AUDIT_HEADS),
)
