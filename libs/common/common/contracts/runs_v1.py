"""A run, from the request to its end."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from common.contracts.event import Event

Operation = Literal["chat", "messages", "check", "batch"]
"""`check` tries a key, `batch` is an order about a provider's own batch (`provider_batches_v1`): neither is a run."""

ORDERS: frozenset[Operation] = frozenset({"check", "batch"})
"""What is asked of a runner and is no run: it is in no count and no sum."""

BATCH_TIER = "batch"
"""The service tier of runs that went through a provider's batch endpoint, whatever the provider calls it."""

Status = Literal["succeeded", "failed", "cancelled", "expired"]
Name = Annotated[str, Field(max_length=256)]
LATEST = 4_102_444_800_000
Millis = Annotated[int, Field(ge=0, le=LATEST, description="UTC milliseconds, before the year 2100")]
Tokens = Annotated[int, Field(ge=0, le=2**40)]
Labels = Annotated[dict[Annotated[str, Field(min_length=1, max_length=64)], Name], Field(max_length=32)]

PREVIEW_CHARACTERS = 200

UNVERIFIED = "unverified"
"""finish_reason of a check whose provider has no endpoint to check a key with."""


class _Part(BaseModel):
    """A piece of an event: frozen, and tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ReplyTo(_Part):
    """Where the completion is awaited: a partition of `runs.replies.v1`, and the replica that waits there.

    Internal services may name a `topic` of their own, `runs.replies.<workspace id>` or one that begins with that and a
    dot, so that nobody can have a runner write anywhere else; `instance` then is whatever tells their readers apart.
    """

    partition: int = Field(ge=0)
    instance: str = Field("", max_length=64)
    topic: str | None = Field(None, max_length=249, pattern=r"^runs\.replies\.[A-Za-z0-9._-]+$")


class RunRequested(Event):
    """A request to call a provider once, with the body in the operation's wire format, verbatim.

    No attempt starts after `deadline`. A record appended after `publish_by` was never accepted.
    `accepted_at` owns the run's place in time everywhere. `on_unknown`: what to do when a call may have been received,
    and paid, without its answer reaching us: try again, or end the run as failed with `outcome_unknown`.
    """

    TYPE: ClassVar[str] = "runs.v1.requested"

    run_id: UUID
    workspace_id: UUID
    user: Name = ""
    operation: Operation
    provider: Name
    model: Name
    body: dict[str, Any]
    prompt_id: Name | None = None
    labels: Labels = {}
    batch_id: Name | None = None
    custom_id: Name | None = None
    key_id: UUID | None = None
    reply_to: ReplyTo | None = None
    deadline: Millis
    publish_by: Millis
    on_unknown: Literal["retry", "fail"] = "retry"
    accepted_at: Millis


class Usage(_Part):
    """Tokens as billed; the total is input + output for every provider.

    `input` counts every input token, cached reads and cache writes included; `output` includes reasoning.
    """

    input: Tokens = 0
    output: Tokens = 0
    cached: Tokens = 0
    cache_writes: Tokens = 0
    reasoning: Tokens = 0


class PriceContext(_Part):
    """What the bill depends on besides the token counts in `Usage`; the counts here are parts of those counts.

    `cache_writes_1h` are cache writes with the longer, dearer lifetime; `web_searches` are billed per search;
    `speed` and `inference_geo` are the provider's own words.
    """

    cache_writes_1h: int = 0
    input_audio: int = 0
    output_audio: int = 0
    web_searches: int = 0
    speed: str | None = None
    inference_geo: str | None = None


class Cost(_Part):
    """US dollars. Unpriced is not free: `priced` False has no total. Components add up to the total exactly.

    `cache_savings`: what the input tokens that were read from the provider's cache would have cost at the full input
    price, less what they did cost. It is in neither total nor components; below zero where the cache is dearer.
    """

    priced: bool
    total: Decimal | None = Field(None, ge=0, decimal_places=18)
    components: dict[str, Decimal] = {}
    catalogue: str = Field("", description="the price catalogue and its version")
    cache_savings: Decimal | None = Field(None, decimal_places=18)


class RunError(_Part):
    """Why a run has no output. `code` is a key of `common.errors.RUN_ERRORS`."""

    code: str
    message: str
    retry_at: Millis | None = None


class Attempt(_Part):
    """One call to the provider. `unknown`: it may have been received, and paid, without an answer reaching us."""

    number: int = Field(ge=1)
    started_at: Millis
    latency_ms: int = Field(ge=0)
    outcome: Literal["known", "unknown"]
    status_code: int | None = None
    error: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None


class RunCompleted(Event):
    """How a run ended, what it used and what that cost. One for each execution; normally one for each run.

    `latency_ms` runs from the first attempt's start to the end, retries included; `queued_ms` from acceptance to
    the first attempt. `response` is the provider's body, verbatim.
    """

    TYPE: ClassVar[str] = "runs.v1.completed"

    run_id: UUID
    execution_id: UUID
    workspace_id: UUID
    user: Name = ""
    operation: Operation
    provider: Name
    model: Name
    prompt_id: Name | None = None
    labels: Labels = {}
    batch_id: Name | None = None
    custom_id: Name | None = None
    accepted_at: Millis
    completed_at: Millis
    status: Status
    output: str | None = None
    response: str | None = None
    truncated: bool = Field(False, description="output and response were cut to fit into one message")
    finish_reason: str | None = None
    served_model: str | None = None
    service_tier: str | None = None
    usage: Usage = Usage()
    price_context: PriceContext | None = Field(
        None, description="with `usage` it is all that the price was made of; None where the provider reported none"
    )
    cost: Cost
    error: RunError | None = None
    attempts: list[Attempt] = []
    prompt_preview: str = Field("", max_length=PREVIEW_CHARACTERS)
    latency_ms: int = Field(0, ge=0)
    queued_ms: int = Field(0, ge=0)
    key_id: UUID | None = None
    key_version: int | None = None
    limits: dict[str, str] | None = Field(None, description="the headers in which the provider speaks of its limits")


class RunDelta(Event):
    """A piece of an answer that is still being written: the provider's own stream events, verbatim, as JSON texts.

    Sent to who waits, never to the journal, and superseded by the RunCompleted that follows. `call_id` is one call's: a
    run that is called again has another. `first` is the number of the first event here, from 0: a gap means a loss.
    `last`: the provider's stream has ended well with these events, of which there may then be none. `limits` are told
    with the first: the headers in which the provider speaks of its limits.
    """

    TYPE: ClassVar[str] = "runs.v1.delta"

    run_id: UUID
    call_id: UUID
    first: int = Field(ge=0)
    events: list[str]
    last: bool = False
    limits: dict[str, str] | None = None


class RunStarted(Event):
    """The provider is about to be called for a run that must not be called twice (`on_unknown: fail`)."""

    TYPE: ClassVar[str] = "runs.v1.started"

    run_id: UUID
    started_at: Millis


class Handover(Event):
    """A runner that gives a partition up still calls these runs, until the time given: the next owner holds them.

    It stands in the completed topic, in the partition it is about, among the completions. `until` 0 gives them back.
    """

    TYPE: ClassVar[str] = "runs.v1.handover"

    run_ids: list[UUID]
    until: Millis


class RunRejected(Event):
    """A record that is no run: where it lay, and why. The record's own bytes are the value, this is its headers."""

    TYPE: ClassVar[str] = "runs.v1.rejected"

    reason: str
    topic: str
    partition: int
    offset: int
    service: str

    def headers(self) -> list[tuple[str, bytes]]:
        """Return every field as a header, since the value is the original record's."""
        fields = [(name, str(value).encode()) for name, value in self.model_dump().items()]
        return [*super().headers(), *fields]
