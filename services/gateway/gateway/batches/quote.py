"""What a batch will cost: a range for each model, and what it rests on. Nothing is sent anywhere for it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from common.catalogue import Rate, rate
from common.contracts.answers_v1 import Answer, Money, OutputTokens
from common.errors import TallyrunError
from common.providers import ProviderSpec
from gateway.batches.batch import RunsAs
from gateway.batches.estimate import Span, choices, input_tokens, output_limit
from gateway.batches.mode import Chosen

ENOUGH_RUNS = 30
"""So many earlier answers tell more about the next ones than an assumption does."""

ASSUMED_OUTPUT = Span(20, 1000)
"""Tokens of an answer of which nothing is known: from a word or two to a page and a half."""

SPREAD = Decimal("0.2")
"""A batch's mean may lie so far from the mean of earlier answers, even where those hardly differ."""

NOTHING = Span(0, 0)
ONLINE = Chosen("online")


class ModelQuote(Answer):
    """One model's rows. Tokens and US dollars as ranges; without a price, `low` and `high` are None."""

    provider: str
    model: str
    rows: int
    unpriced_rows: int
    input_low: int
    input_high: int
    output_low: int
    output_high: int
    low: Money | None
    high: Money | None
    basis: str


class Quote(Answer):
    """All rows of a batch: `low` and `high` leave out the rows without a price, which are counted.

    `runs_as`: at which price, row by row or through the providers' own batches; `runs_as_why`, where not as asked.
    """

    rows: int
    unpriced_rows: int
    low: Money
    high: Money
    models: list[ModelQuote]
    runs_as: RunsAs = "online"
    runs_as_why: str | None = None


class History(Protocol):
    """Where earlier answers are known."""

    async def output_tokens(self, workspace_id: UUID, provider: str, model: str) -> OutputTokens:
        """Return how long the model's last answers in this workspace were."""


@dataclass
class _Share:
    """The rows of one model so far."""

    rates: dict[RunsAs, Rate | None]
    answer: Span
    basis: str
    rows: int = 0
    input: Span = NOTHING
    output: Span = NOTHING

    def add(self, body: dict[str, Any]) -> None:
        self.rows += 1
        self.input += input_tokens(body)
        self.output += self.answer.capped(output_limit(body)).times(choices(body))

    def quote(self, provider: str, model: str, runs_as: RunsAs) -> ModelQuote:
        price = self.rates[runs_as]
        return ModelQuote(
            provider=provider,
            model=model,
            rows=self.rows,
            unpriced_rows=0 if price else self.rows,
            input_low=self.input.low,
            input_high=self.input.high,
            output_low=self.output.low,
            output_high=self.output.high,
            low=self._cost(price, self.input.low, self.output.low),
            high=self._cost(price, self.input.high, self.output.high),
            basis=self.basis,
        )

    def _cost(self, price: Rate | None, input_tokens: int, output_tokens: int) -> Decimal | None:
        if price is None:
            return None
        return input_tokens * price.input + output_tokens * price.output + self.rows * price.request


def _now() -> datetime:
    return datetime.now(UTC)


class Quoting:
    """Adds a workspace's rows up, one by one: its memory does not grow with them."""

    def __init__(self, history: History, workspace_id: UUID, clock: Callable[[], datetime] = _now) -> None:
        self._history = history
        self._workspace_id = workspace_id
        self._clock = clock
        self._shares: dict[tuple[str, str], _Share] = {}

    async def add(self, spec: ProviderSpec, model: str, body: dict[str, Any]) -> None:
        """Add one row: its request, in either wire format."""
        share = self._shares.get((spec.name, model))
        if share is None:
            share = self._shares[spec.name, model] = await self._begun(spec, model)
        share.add(body)

    def quote(self, how: Chosen = ONLINE) -> Quote:
        """Return what all rows so far will cost, run so."""
        models = [share.quote(*name, how.runs_as) for name, share in self._shares.items()]
        return Quote(
            runs_as=how.runs_as,
            runs_as_why=how.why,
            rows=sum(quoted.rows for quoted in models),
            unpriced_rows=sum(quoted.unpriced_rows for quoted in models),
            low=sum((quoted.low or Decimal(0) for quoted in models), Decimal(0)),
            high=sum((quoted.high or Decimal(0) for quoted in models), Decimal(0)),
            models=models,
        )

    async def _begun(self, spec: ProviderSpec, model: str) -> _Share:
        answer, basis = expected(await self._earlier(spec.name, model))
        online, provider = (self._rate(spec, model, batch=batch) for batch in (False, True))
        return _Share({"online": online, "provider": provider}, answer, basis)

    def _rate(self, spec: ProviderSpec, model: str, *, batch: bool) -> Rate | None:
        return None if spec.catalogue is None else rate(spec.catalogue, model, self._clock(), batch=batch)

    async def _earlier(self, provider: str, model: str) -> OutputTokens | None:
        try:
            return await self._history.output_tokens(self._workspace_id, provider, model)
        except TallyrunError:  # without it the quote is wider, and says so
            return None


def expected(earlier: OutputTokens | None) -> tuple[Span, str]:
    """Return the tokens that an answer will have on average, and what makes us think so."""
    if earlier is None or earlier.runs < ENOUGH_RUNS:
        span = ASSUMED_OUTPUT
        return span, f"no {ENOUGH_RUNS} earlier answers of this model here: {span.low} to {span.high} tokens assumed"
    low = min(earlier.lower, int(earlier.mean * (1 - SPREAD)))
    high = max(earlier.upper, int(earlier.mean * (1 + SPREAD)) + 1)
    return Span(low, high), f"your last {earlier.runs:,} answers of this model: {earlier.mean} tokens on average"
