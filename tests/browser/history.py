"""Some weeks of a workspace's runs, as runners would have completed them: a rhythm, several teams, faults, repeats."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from common.contracts.runs_v1 import Attempt, Cost, RunCompleted, RunError, Usage
from common.contracts.topics import COMPLETED
from common.ids import new_id
from common.kafka import Publisher

MILLION = 1_000_000
UNPRICED = "in-house-finetune-7"


@dataclass(frozen=True)
class Model:
    """A model and what it costs: dollars for a million tokens in, cached and out. `weight`: how often it is asked."""

    provider: str
    name: str
    plain: Decimal
    cached: Decimal
    output: Decimal
    latency: int
    weight: int

    @property
    def wire(self) -> str:
        return "messages" if self.provider == "anthropic" else "chat"


def _model(provider: str, name: str, plain: str, cached: str, output: str, latency: int, weight: int) -> Model:
    return Model(provider, name, Decimal(plain), Decimal(cached), Decimal(output), latency, weight)


MODELS = (
    _model("openai", "gpt-4.1", "2", "0.5", "8", 1900, 8),
    _model("openai", "gpt-4o-mini", "0.15", "0.075", "0.6", 800, 20),
    _model("openai", "gpt-5-mini", "0.25", "0.025", "2", 2600, 10),
    _model("anthropic", "claude-sonnet-4-5", "3", "0.3", "15", 2300, 9),
    _model("anthropic", "claude-haiku-4-5", "1", "0.1", "5", 900, 14),
    _model("anthropic", "claude-3-opus-20240229", "15", "1.5", "75", 4200, 2),
    _model("openai", "gpt-4-turbo", "10", "10", "30", 3100, 2),
    _model("openai", "gpt-3.5-turbo", "0.5", "0.5", "1.5", 600, 5),
    _model("openai", "o4-mini", "1.1", "0.275", "4.4", 5200, 3),
    _model("openai", UNPRICED, "0", "0", "0", 700, 2),
)
PROMPTS = {
    "support-reply": ("support", "A customer writes about a parcel that was sent to the old address."),
    "ticket-triage": ("support", "Sort this ticket by urgency, team and mood."),
    "release-notes": ("engineering", "Write three sentences of release notes for a change to the export."),
    "code-review": ("engineering", "Review this plan: we cache prices in memory for an hour."),
    "sql-from-words": ("data", "How many events concerned the invoice for March in each week?"),
    "meeting-summary": ("office", "Summarise in three points: we met about the rate limit for partners."),
    "translate-help": ("docs", "Translate into German. Keep product names as they are."),
    "test-ideas": ("engineering", "List the edge cases that tests of time zones most often miss."),
}
USERS = {
    "support": ["ada", "ben"],
    "engineering": ["cleo", "dev-bot"],
    "data": ["emil"],
    "office": ["fay"],
    "docs": ["gus"],
}
FAULTS = (("rate_limited", 429), ("provider_timeout", None), ("provider_unavailable", 503), ("provider_rejected", 400))
QUIET = {5, 6}
"""Days back on which nothing ran: a mean has a gap there, a sum a zero."""


def history(workspace_id: UUID, days: int, a_day: int, seed: int = 7) -> Iterator[RunCompleted]:
    """Yield the completions of so many days up to now, about so many a day."""
    chance, now = random.Random(seed), datetime.now(UTC)
    for back in range(days):
        if back in QUIET:
            continue
        day = now - timedelta(days=back)
        for _ in range(_runs_on(day, back, days, a_day, chance)):
            at = day - timedelta(seconds=chance.uniform(60, 60 if back == 0 else 40_000) + 60)
            yield from _executions(workspace_id, at, chance)


def _runs_on(day: datetime, back: int, days: int, a_day: int, chance: random.Random) -> int:
    growth = 0.6 + 0.7 * (days - back) / days
    return max(1, round(a_day * growth * (0.35 if day.weekday() > 4 else 1) * chance.uniform(0.75, 1.3)))


def _executions(workspace_id: UUID, at: datetime, chance: random.Random) -> Iterator[RunCompleted]:
    model = chance.choices(MODELS, [model.weight for model in MODELS])[0]
    prompt_id, (team, text) = chance.choice(list(PROMPTS.items()))
    fields: dict[str, Any] = {
        "run_id": new_id(),
        "workspace_id": workspace_id,
        "user": chance.choice(USERS[team]),
        "operation": model.wire,
        "provider": model.provider,
        "model": model.name,
        "served_model": model.name,
        "prompt_id": prompt_id,
        "prompt_preview": text,
        "labels": {"team": team},
        "accepted_at": round(at.timestamp() * 1000),
    }
    yield _ended(fields, model, chance, later=0)
    if chance.random() < 0.012:
        yield _ended(fields, model, chance, later=9000)


def _ended(fields: dict[str, Any], model: Model, chance: random.Random, later: int) -> RunCompleted:
    queued, latency = round(chance.expovariate(1 / 40)), round(model.latency * chance.lognormvariate(0, 0.45))
    began = fields["accepted_at"] + queued + later
    ending = _failed(began, latency, chance) if chance.random() < 0.04 else _succeeded(model, began, latency, chance)
    times = {"completed_at": began + latency, "latency_ms": latency, "queued_ms": queued}
    return RunCompleted(execution_id=new_id(), **fields, **times, **ending)


def _succeeded(model: Model, began: int, latency: int, chance: random.Random) -> dict[str, Any]:
    sent = round(chance.lognormvariate(6.6, 0.8))
    cached = round(sent * chance.choice((0, 0, 0.5, 0.8)))
    answered = round(chance.lognormvariate(5.6, 0.7))
    usage = Usage(input=sent, output=answered, cached=cached, reasoning=answered // 3 if model.name == "o4-mini" else 0)
    cost = _cost(model, usage)
    attempt = Attempt(
        number=1, started_at=began, latency_ms=latency, outcome="known", status_code=200, usage=usage, cost=cost
    )
    text = "Thank you for writing. We have found your parcel and it is on its way to the new address."
    return {
        "status": "succeeded", "output": text, "finish_reason": "stop", "service_tier": "default",
        "usage": usage, "cost": cost, "attempts": [attempt],
    }  # fmt: skip


def _cost(model: Model, usage: Usage) -> Cost:
    if model.name == UNPRICED:
        return Cost(priced=False, catalogue="list prices")
    parts = {
        "input": (usage.input - usage.cached) * model.plain / MILLION,
        "cached_input": usage.cached * model.cached / MILLION,
        "output": usage.output * model.output / MILLION,
    }
    return Cost(priced=True, total=sum(parts.values(), Decimal(0)), components=parts, catalogue="list prices")


def _failed(began: int, latency: int, chance: random.Random) -> dict[str, Any]:
    code, status = chance.choice(FAULTS)
    attempts = [
        Attempt(
            number=n,
            started_at=began + n * 500,
            latency_ms=latency // 3,
            outcome="known",
            status_code=status,
            error=code,
        )
        for n in (1, 2, 3)
    ]
    error = RunError(code=code, message=f"the provider answered {status or 'nothing in time'}")
    return {"status": "failed", "error": error, "attempts": attempts, "cost": Cost(priced=True, total=Decimal(0))}


async def publish(bootstrap: str, events: Sequence[RunCompleted]) -> None:
    """Append them to the log of completions."""
    publisher = Publisher(bootstrap)
    await publisher.start()
    try:
        sends = (publisher.deliver(COMPLETED.name, e.encode(), key=e.run_id.bytes, headers=e.headers()) for e in events)
        await asyncio.gather(*sends)
    finally:
        await publisher.close()
