"""Providers' own batches against the simulated ones: handed over, found, collected, priced; told twice, the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from aiokafka import TopicPartition
from pydantic import SecretStr

from common.contracts.credentials_v1 import Lease
from common.contracts.provider_batches_v1 import Cancel, Collect, Look, Order, Part, Standing, Submit
from common.contracts.runs_v1 import Cost, ReplyTo, RunCompleted, RunError, RunRequested, Usage
from common.ids import new_id, now_ms
from common.pricing import Call, price
from common.providers import Providers, ProviderSettings
from embedded.simulator import Running, running
from runner.orders import Orders, journal_of
from runner.providers import Answer, CallFailed, Provider, provider_for

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
ROWS = 30


class Contents:
    """Files in memory, in pieces that end anywhere."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def read(self, name: str) -> AsyncIterator[bytes]:
        content = self.files[name]
        for begin in range(0, len(content), 1000):
            yield content[begin : begin + 1000]


class Ends:
    """Takes the ends that are published."""

    def __init__(self) -> None:
        self.published: list[RunCompleted] = []

    async def publish(self, completed: RunCompleted, journal: TopicPartition, reply_to: ReplyTo | None) -> None:
        assert journal == journal_of(completed.run_id)
        assert reply_to is None
        self.published.append(completed)


def batch_price(provider: str, model: str, answer: Answer, at: datetime) -> Cost:
    used = answer.served_model, answer.service_tier, answer.usage, answer.price_context
    return price(provider, Call(model, *used, batch=True), at)


class Desk:
    """One provider, a part for it, and somebody who gives orders about it."""

    def __init__(self, name: str, provider: Provider, simulator: Running) -> None:
        self.name, self.provider, self.simulator = name, provider, simulator
        self.contents, self.ends = Contents(), Ends()
        self.orders = Orders(lambda: self.contents, self.ends, batch_price, previews=True)
        self.secret = f"key-{uuid4().hex}"
        self.since = now_ms()

    def part(self, count: int = ROWS, **body: Any) -> Part:
        part = Part(id=new_id(), file=uuid4().hex, rows=count, batch_id="batch_1", operation=self.operation)
        asked = {"model": MODELS[self.name], "max_tokens": 50, **body}
        lines = [
            {
                "run_id": str(new_id()),
                "custom_id": f"row-{number}",
                "body": {**asked, "messages": [{"role": "user", "content": f"What of {number} {part.id}?\u2028"}]},
            }
            for number in range(count)
        ]
        self.contents.files[part.file] = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return part

    @property
    def operation(self) -> Any:
        return "chat" if self.name == "openai" else "messages"

    async def give(self, order: Order) -> Any:
        now = now_ms()
        run = RunRequested(
            run_id=new_id(), workspace_id=UUID(int=7), operation="batch", provider=self.name, model="-",
            body=order.model_dump(mode="json"), labels={"team": "geo"}, deadline=now + 1000, publish_by=now + 1000,
            accepted_at=now,
        )  # fmt: skip
        lease = Lease(secret=SecretStr(self.secret), key_id=UUID(int=9), version=2, revision=1, ttl_ms=1000)
        answer = await self.orders.carry_out(run, self.provider, lease)
        return orjson.loads(answer.output or "")

    async def standing(self, order: Order) -> Standing:
        return Standing.model_validate(await self.give(order))

    async def find(self, part: Part) -> Standing:
        return await self.standing(Look(part=part, provider_batch=None, since=self.since))

    async def ended(self, part: Part, batch: str | None) -> Standing:
        while (told := await self.standing(Look(part=part, provider_batch=batch, since=0))).ended_at is None:
            await asyncio.sleep(0.02)
        return told

    async def collect(self, part: Part, batch: str | None, **fields: Any) -> list[RunCompleted]:
        self.ends.published.clear()
        order = Collect(part=part, provider_batch=batch, ended_at=fields.pop("ended_at", now_ms()), **fields)
        assert await self.give(order) == {"rows": part.rows}
        assert len({end.custom_id for end in self.ends.published}) == part.rows == len(self.ends.published)
        return list(self.ends.published)


@pytest.fixture(params=["openai", "anthropic"])
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    async with running() as simulator:
        simulator.simulator.batches.pace.seconds = 0.1
        settings = ProviderSettings(
            openai_base_url=simulator.openai_base_url, anthropic_base_url=simulator.anthropic_base_url
        )
        provider = provider_for(Providers.load(settings).find(request.param))
        yield Desk(request.param, provider, simulator)
        await provider.close()


async def test_a_part_is_handed_over_and_its_rows_come_back_at_half_the_price(desk: Desk) -> None:
    part = desk.part()
    told = await desk.standing(Submit(part=part))
    assert told.ended_at is None
    over = await desk.ended(part, told.provider_batch)
    assert (over.completed, over.failed) == (ROWS, 0)
    for end in await desk.collect(part, told.provider_batch):
        assert (end.status, end.error, end.service_tier) == ("succeeded", None, "batch")
        assert (end.batch_id, end.labels, end.key_id, end.key_version) == ("batch_1", {"team": "geo"}, UUID(int=9), 2)
        assert end.prompt_preview.startswith("What of ")
        assert (end.cost.priced, end.latency_ms) == (True, 0)
        full = listed(desk.name, end)
        halved = {kind: cost / 2 for kind, cost in full.components.items() if kind != "cached"}
        # OpenAI's price of cached input is the same in a batch; Anthropic halves every kind.
        cached = full.components.get("cached", Decimal(0)) / (1 if desk.name == "openai" else 2)
        assert end.cost.total == sum(halved.values(), cached)
        assert end.output is not None
        assert end.output.startswith("Simulated answer")
    calls = desk.simulator.calls()
    assert (calls["served"], calls["repeated"]) == (ROWS, {})


def listed(name: str, end: RunCompleted) -> Cost:
    return price(name, Call(end.model, end.served_model, "standard", end.usage), datetime.now(UTC))


async def test_a_part_collected_twice_is_the_same_to_the_byte(desk: Desk) -> None:
    part = desk.part()
    told = await desk.standing(Submit(part=part))
    over = await desk.ended(part, told.provider_batch)
    first, second = [
        {end.run_id: end.encode() for end in await desk.collect(part, told.provider_batch, ended_at=over.ended_at)}
        for _ in range(2)
    ]
    assert first == second


async def test_what_was_made_without_an_answer_is_found_and_nothing_else(desk: Desk) -> None:
    other, part = desk.part(), desk.part()
    await desk.standing(Submit(part=other))
    assert (await desk.find(part)).provider_batch is None
    desk.simulator.simulator.batches.lose_next = "after"
    with pytest.raises(CallFailed) as caught:
        await desk.give(Submit(part=part))
    assert not caught.value.outcome_known
    early = await desk.find(part)
    if desk.name == "openai":
        assert early.provider_batch is not None
    else:  # nothing tells the two apart until they have ended
        assert (early.provider_batch, early.certain) == (None, False)
    while (found := (await desk.find(part)).provider_batch) is None:
        await asyncio.sleep(0.02)
    assert (await desk.ended(part, found)).completed == ROWS
    assert len(await desk.collect(part, found)) == ROWS


async def test_a_server_error_says_nothing_about_whether_a_batch_was_made(desk: Desk) -> None:
    desk.simulator.simulator.batches.lose_next = "fault"
    part = desk.part()
    with pytest.raises(CallFailed) as caught:
        await desk.give(Submit(part=part))
    assert (caught.value.code, caught.value.outcome_known) == ("provider_unavailable", False)
    while (found := (await desk.find(part)).provider_batch) is None:
        await asyncio.sleep(0.02)
    assert (await desk.ended(part, found)).completed == ROWS


async def test_what_was_not_made_is_known_not_to_be(desk: Desk) -> None:
    part = desk.part()
    desk.simulator.simulator.batches.lose_next = "before"
    with pytest.raises(CallFailed) as caught:
        await desk.give(Submit(part=part))
    assert not caught.value.outcome_known
    assert await desk.find(part) == Standing(certain=True)


async def test_rows_that_expired_come_again_and_those_after_the_last_round_end(desk: Desk) -> None:
    desk.simulator.simulator.batches.pace.served = 0.5
    part = desk.part()
    told = await desk.standing(Submit(part=part))
    await desk.ended(part, told.provider_batch)
    ends = await desk.collect(part, told.provider_batch, again_at=77)
    served, left = [[end for end in ends if (end.status == "succeeded") is good] for good in (True, False)]
    assert (len(served), len(left)) == (ROWS // 2, ROWS // 2)
    assert {(end.status, end.error and end.error.code, end.error and end.error.retry_at) for end in left} == {
        ("failed", "not_served", 77)
    }
    assert {end.cost.total for end in left} == {Decimal(0)}
    last = await desk.collect(part, told.provider_batch)
    assert sorted(end.status for end in last) == ["expired"] * (ROWS // 2) + ["succeeded"] * (ROWS // 2)


async def test_a_row_that_the_provider_rejects_or_fails_ends_as_a_call_would(desk: Desk) -> None:
    desk.simulator.control(
        rules=[{"kind": "bad_request", "prompt": "What of 1 "}, {"kind": "overloaded", "prompt": "What of 2 "}]
    )
    part = desk.part(4)
    told = await desk.standing(Submit(part=part))
    await desk.ended(part, told.provider_batch)
    again = {end.custom_id: end.error for end in await desk.collect(part, told.provider_batch, again_at=77)}
    last = {end.custom_id: end.error for end in await desk.collect(part, told.provider_batch)}
    assert again["row-0"] is None
    assert (again["row-1"] or last["row-0"] or RunError(code="", message="")).code == "provider_rejected"
    assert (again["row-2"] or RunError(code="", message="")).retry_at == 77
    assert (last["row-2"] or RunError(code="", message="")).code == "provider_unavailable"


@pytest.mark.parametrize(("why", "status"), [("cancelled", "cancelled"), ("deadline", "expired")])
async def test_a_cancelled_batch_ends_by_who_cancelled_it(desk: Desk, why: str, status: str) -> None:
    desk.simulator.simulator.batches.pace.seconds = 60
    part = desk.part(3)
    told = await desk.standing(Submit(part=part))
    over = await desk.standing(Cancel(part=part, provider_batch=told.provider_batch or ""))
    assert over.ended_at is not None
    assert await desk.standing(Cancel(part=part, provider_batch=told.provider_batch or "")) == over
    assert {end.status for end in await desk.collect(part, told.provider_batch, why=why)} == {status}


async def test_a_part_that_was_never_taken_ends_row_by_row(desk: Desk) -> None:
    failure = RunError(code="outcome_unknown", message="nobody knows")
    ends = await desk.collect(desk.part(3), None, failure=failure)
    assert {(end.status, end.error, end.cost.priced) for end in ends} == {("failed", failure, False)}


async def test_a_key_that_is_refused_hands_nothing_over(desk: Desk) -> None:
    desk.secret = f"refused-{uuid4().hex}"
    for order in (Submit(part=desk.part(2)), Look(part=desk.part(2), provider_batch=None, since=0)):
        with pytest.raises(CallFailed) as caught:
            await desk.give(order)
        assert (caught.value.code, caught.value.outcome_known) == ("invalid_api_key", True)


async def test_openai_names_why_it_took_no_batch(desk: Desk) -> None:
    if desk.name != "openai":
        return
    part, other = desk.part(2), desk.part(2, model="gpt-4.1")
    desk.contents.files[part.file] += desk.contents.files[other.file]
    told = await desk.standing(Submit(part=part))
    fault = (await desk.ended(part, told.provider_batch)).fault
    assert fault is not None
    assert (fault.code, "must be the same" in fault.message) == ("provider_rejected", True)


@pytest.mark.parametrize("tier", [None, "standard", "batch"])
def test_anthropics_own_word_for_a_batch_does_not_double_the_price(tier: str | None) -> None:
    usage = Usage(input=1000, output=500)
    call = Call("claude-haiku-4-5", None, tier, usage, batch=True)
    # half of 1000 × $1/M + 500 × $5/M
    assert price("anthropic", call, datetime.now(UTC)).total == Decimal("0.00175")


def test_a_model_without_a_batch_price_is_unpriced_in_a_batch_and_not_billed_at_list_price() -> None:
    model = "chatgpt-4o-latest"
    online, batched = (Call(model, None, None, Usage(input=1000, output=500), batch=batch) for batch in (False, True))
    assert price("openai", online, datetime.now(UTC)).priced
    assert not price("openai", batched, datetime.now(UTC)).priced
