"""How the simulator treats each call: latency, failures, rules and scripts, steered while it runs."""

import time
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from embedded.simulator.prompt import Call

Kind = Literal[
    "ok",
    "invalid_api_key",
    "forbidden",
    "rate_limited",
    "insufficient_quota",
    "model_not_found",
    "bad_request",
    "server_error",
    "overloaded",
    "status",
    "malformed",
    "hang",
    "reset",
]
TRANSIENT: tuple[Kind, ...] = ("server_error", "overloaded", "rate_limited")
Path = Literal["chat", "messages", "models"]


class _Told(BaseModel):
    """Something the control endpoint was told; a field it does not know is refused."""

    model_config = ConfigDict(extra="forbid")


class Step(_Told):
    """What happens to one call.

    `ok` answers, with `merge` laid over the answer. `status` answers `status` and `message`. `malformed` answers 200
    with half a body. `hang` never answers. `reset` cuts the connection once the request has been read. Every other kind
    is the real provider's error. In `message`, `{key}` becomes the API key that was sent. `retry_after` is in seconds.
    A stream pauses for `pace_ms` before each event but the first, and breaks off after `break_after` events: by `cut`
    the connection is lost, by `end` the answer ends as if it were whole, by `error` one comes as an event.
    """

    kind: Kind = "ok"
    status: int = Field(418, ge=200, le=599)
    message: str | None = None
    latency_ms: float | None = Field(None, ge=0)
    retry_after: float | None = Field(None, ge=0)
    merge: dict[str, Any] = {}
    pace_ms: float = Field(0, ge=0)
    break_after: int | None = Field(None, ge=0)
    break_by: Literal["cut", "end", "error"] = "cut"


class Rule(Step):
    """A step for the calls that match every field given; `times` calls, or for ever.

    `prompt` matches anywhere in the prompt's text. Without `path` it matches chat and messages, not models.
    """

    path: Path | None = None
    model: str | None = None
    key: str | None = None
    prompt: str | None = None
    times: int | None = Field(None, ge=1)

    def matches(self, call: Call) -> bool:
        """Whether the rule is for this call."""
        return (
            (call.path == self.path if self.path else call.path != "models")
            and (self.model is None or self.model == call.model)
            and (self.key is None or self.key == call.key)
            and (self.prompt is None or self.prompt in call.text)
        )


class Limit(_Told):
    """A token bucket: so many calls a second, then 429 with the time until the next token.

    `reported`: every answer says in its headers what is left, as the real providers' answers do.
    """

    per_second: float = Field(gt=0)
    burst: float = Field(1, ge=1)
    reported: bool = False


class Allowance(NamedTuple):
    """What a limit's headers say: calls when full, calls left, seconds until it is full."""

    limit: int
    remaining: int
    reset: float


class Behaviour(_Told):
    """What the control endpoint sets. `failure` is the probability of each kind, drawn for each call from `seed`.

    A call's fate is the first of: a key that begins with "refused"; a model that begins with "missing"; the first rule
    that matches; the next step of the script; the limit; the drawn failure; an answer.
    """

    latency_ms: float = Field(0, ge=0)
    jitter_ms: float = Field(0, ge=0)
    failure: dict[Kind, float] = {}
    rules: list[Rule] = []
    script: list[Rule] = []
    limit: Limit | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        if any(share < 0 for share in self.failure.values()) or sum(self.failure.values()) > 1:
            raise ValueError("failure: probabilities are at least 0 and add up to 1 at most")
        for step in self.script:
            step.times = step.times or 1
        return self


def transient(rate: float) -> dict[Kind, float]:
    """Share a failure rate out equally among the kinds that a retry can cure."""
    return dict.fromkeys(TRANSIENT, rate / len(TRANSIENT)) if rate else {}


class Steering:
    """Decides each call's fate under the behaviour of the moment."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._start = behaviour
        self.reset()

    def reset(self) -> None:
        """Behave as at the start again."""
        self.behave(self._start.model_copy(deep=True))

    def behave(self, behaviour: Behaviour) -> None:
        """Behave like this from now on; the bucket is full."""
        self.behaviour = behaviour
        self._tokens = behaviour.limit.burst if behaviour.limit else 0.0
        self._filled = time.monotonic()

    def change(self, fields: dict[str, Any]) -> Behaviour:
        """Replace the fields named, keep the others; raise `ValidationError` on what is not understood."""
        self.behave(Behaviour.model_validate({**self.behaviour.model_dump(), **fields}))
        return self.behaviour

    def fate(self, call: Call) -> Step:
        """Return what happens to the call."""
        return _refused(call) or self._told(call) or self._limited(call) or self._failed(call)

    def allowance(self) -> Allowance | None:
        """Return what the limit has left, if it is to be reported."""
        limit = self.behaviour.limit
        if limit is None or not limit.reported:
            return None
        return Allowance(int(limit.burst), int(self._tokens), (limit.burst - self._tokens) / limit.per_second)

    def latency_seconds(self, call: Call, step: Step) -> float:
        """Return how long the call takes: the step's own time, or the behaviour's with its jitter."""
        if step.latency_ms is not None:
            return step.latency_ms / 1000
        jitter = self.behaviour.jitter_ms
        return (self.behaviour.latency_ms + (jitter * self._draw(call, b"jitter") if jitter else 0)) / 1000

    def _told(self, call: Call) -> Step | None:
        for rules in (self.behaviour.rules, self.behaviour.script):
            for place, rule in enumerate(rules):
                if rule.matches(call):
                    _use(rules, place)
                    return rule
        return None

    def _limited(self, call: Call) -> Step | None:
        limit, now = self.behaviour.limit, time.monotonic()
        if limit is None or call.path == "models":
            return None
        self._tokens = min(limit.burst, self._tokens + (now - self._filled) * limit.per_second)
        self._filled = now
        if self._tokens < 1:
            return Step(kind="rate_limited", retry_after=(1 - self._tokens) / limit.per_second)
        self._tokens -= 1
        return None

    def _failed(self, call: Call) -> Step:
        if not self.behaviour.failure or call.path == "models":
            return OK
        drawn = self._draw(call, b"failure")
        for kind, share in self.behaviour.failure.items():
            if drawn < share:
                return Step(kind=kind)
            drawn -= share
        return OK

    def _draw(self, call: Call, what: bytes) -> float:
        """Draw from [0, 1), whatever the order of arrival: by the seed, the prompt, and how often it came before."""
        told = b"%d %d %b %b" % (self.behaviour.seed, call.nth, call.digest.encode(), what)
        return int.from_bytes(blake2b(told, digest_size=7).digest()) / 2**56


def _refused(call: Call) -> Step | None:
    if not call.key or call.key.startswith("refused"):
        return Step(kind="invalid_api_key")
    return Step(kind="model_not_found") if call.model.startswith("missing") else None


def _use(rules: list[Rule], place: int) -> None:
    rule = rules[place]
    if rule.times is None:
        return
    if rule.times == 1:
        del rules[place]
    else:
        rule.times -= 1


OK = Step()
