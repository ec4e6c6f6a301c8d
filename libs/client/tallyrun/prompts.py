"""One prompt and its answer, whole or as it is written."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import Field

from tallyrun.errors import TallyrunError
from tallyrun.wire import Told


class Answer(Told):
    """What a prompt was answered. `cost` in US dollars, None is unpriced; `latency` in ms."""

    output: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: Decimal | None
    latency: int
    model: str
    run_id: str

    @property
    def text(self) -> str:
        """The output."""
        return self.output


class Model(Told):
    """A model that may be asked for, by this name; `owned_by` is the provider."""

    id: str
    owned_by: str = Field(alias="owned_by")


class PricedModel(Told):
    """A model and the most that a million of its tokens cost, in US dollars; None is unpriced."""

    model: str
    provider: str
    input: Decimal | None
    output: Decimal | None
    catalogue: str


class Delta(Told):
    """A piece of an answer that is being written, and the run whose answer it is."""

    text: str
    run_id: str | None


class Usage(Told):
    """Tokens of one run."""

    input: int
    output: int


class Outcome(Told):
    """What was said of a run's answer; `score` is from 0 to 1."""

    success: bool | None
    score: Decimal | None
    note: str | None
    recorded_at: datetime


class Run(Told):
    """One run. `status` is accepted until it has ended; `cost` in US dollars, None is unpriced."""

    run_id: str
    status: str
    model: str
    output: str | None = None
    error: str | None = None
    usage: Usage | None = None
    cost: Decimal | None = None
    outcome: Outcome | None = None

    @property
    def ended(self) -> bool:
        """Whether its figures are known."""
        return self.status != "accepted"


def delta(event: Any) -> Delta:
    """Read one chunk of a chat completion; raise the error that it tells."""
    run_id = event.get("requestId")
    if told := event.get("error"):
        code = str(told.get("code") or told.get("type"))
        raise TallyrunError(str(told.get("message")), code=code, status=0, again=False, run_id=run_id)
    pieces = [choice.get("delta", {}).get("content") or "" for choice in event["choices"]]
    return Delta(text="".join(pieces), run_id=run_id)
