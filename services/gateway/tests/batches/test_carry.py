"""One part's way to its provider and back, whatever its orders are answered."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from common.contracts.provider_batches_v1 import Cancel, Collect, Look, Order, Standing, Submit
from common.contracts.runs_v1 import RunError
from common.contracts.topics import DAY_MS
from common.errors import Unavailable
from common.ids import now_ms
from gateway.batches import carry
from gateway.batches.batch import Batch
from gateway.batches.carry import Carrier
from gateway.batches.orders import Told
from gateway.batches.parts import FormedPart, PartRecord

KEY = UUID(int=1)
Answer = Told | type[Exception]


def told(**fields: Any) -> Told:
    return Told(Standing(**fields), None, unknown=False, key_id=KEY)


def refused(code: str, *, unknown: bool = False) -> Told:
    return Told(None, RunError(code=code, message="it said no"), unknown=unknown, key_id=KEY)


COLLECTED = Told(None, None, unknown=False, key_id=KEY)
GOING = told(provider_batch="b1", state="in_progress", completed=1, failed=0)
OVER = told(provider_batch="b1", state="completed", completed=3, failed=0, ended_at=1)
NONE = told()
MAYBE = told(certain=False)


class Lease:
    """A lease that holds."""

    publish_by = 2**50

    def __init__(self, **fields: Any) -> None:
        now = now_ms()
        self.batch = Batch("batch_1", uuid4(), "me", "file-1", now, now + DAY_MS, state="in_progress")
        self.become(**fields)

    def become(self, **fields: Any) -> None:
        self.batch = replace(self.batch, **fields)


class Scripted:
    """Answers orders one after the other; the last answer of each kind stays."""

    def __init__(self, **script: list[Answer]) -> None:
        self.script = script
        self.given: list[Order] = []
        self.when: dict[int, Callable[[], None]] = {}

    def publish_by(self, lease_ends: int) -> int:
        return lease_ends

    async def give(self, batch: Batch, part: PartRecord, order: Order, publish_by: int) -> Told:
        self.given.append(order)
        if (then := self.when.get(len(self.given))) is not None:
            then()
        await asyncio.sleep(0)
        answers = self.script[order.action]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Told):
            return answer
        raise answer("no")

    def count(self, kind: type) -> int:
        return sum(isinstance(order, kind) for order in self.given)


class Way:
    """A part, carried with scripted answers, each of its stored stages noted."""

    def __init__(self, orders: Scripted, lease: Lease | None = None, **record: Any) -> None:
        self.orders = orders
        self.lease = lease or Lease()
        fields = {"provider": "openai", "model": "m", "operation": "chat", "rows": 3, "stage": "written", **record}
        self.record = PartRecord(**fields)
        self.stages: list[str] = []
        self.paused: list[str] = []
        part = FormedPart(self.record, [(0, 0), (1, 0), (2, 0)])
        self.carrier = Carrier(self.lease, part, orders, self.save, self.refused)  # type: ignore[arg-type]

    async def save(self) -> None:
        if self.stages[-1:] != [self.record.stage]:
            self.stages.append(self.record.stage)

    async def refused(self, provider: str, error: RunError) -> None:
        self.paused.append(error.code)
        self.lease.become(state="paused", paused_for=provider)

    async def run(self) -> PartRecord:
        async with asyncio.timeout(20):
            await self.carrier.run()
        return self.record

    @property
    def collect(self) -> Collect:
        (order,) = [order for order in self.orders.given if isinstance(order, Collect)][-1:]
        return order


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN_SECONDS", "SOONEST_SECONDS", "LATEST_SECONDS", "AFTER_FAULT_SECONDS"):
        monkeypatch.setattr(carry, name, 0.001)


async def test_a_part_is_handed_over_looked_after_and_collected() -> None:
    way = Way(Scripted(submit=[GOING], look=[GOING, OVER], collect=[COLLECTED]))
    record = await way.run()
    assert way.stages == ["submitting", "submitted", "ended", "collected"]
    assert (record.provider_batch, record.key_id, record.completed) == ("b1", KEY, 3)
    assert (way.collect.provider_batch, way.collect.why, way.collect.failure) == ("b1", None, None)
    assert way.collect.ended_at >= (record.submitted_at or 0)
    assert way.collect.again_at is not None


@pytest.mark.parametrize(
    "unheard", [TimeoutError, refused("provider_unavailable", unknown=True), refused("outcome_unknown", unknown=True)]
)
async def test_what_may_have_been_handed_over_is_looked_for_and_not_handed_over_again(unheard: Answer) -> None:
    way = Way(Scripted(submit=[unheard], look=[NONE, MAYBE, NONE, OVER], collect=[COLLECTED]))
    await way.run()
    assert (way.orders.count(Submit), way.collect.provider_batch) == (1, "b1")


async def test_what_an_owner_before_may_have_handed_over_is_looked_for_first() -> None:
    way = Way(Scripted(submit=[GOING], look=[OVER], collect=[COLLECTED]), stage="submitting", tried_at=1)
    await way.run()
    assert (way.orders.count(Submit), way.collect.provider_batch) == (0, "b1")


async def test_only_what_surely_was_not_handed_over_is_once_its_order_cannot_be_under_way() -> None:
    script = Scripted(submit=[GOING], look=[MAYBE, NONE, OVER], collect=[COLLECTED])
    way = Way(script, stage="submitting", tried_at=1, tried_until=now_ms() - 1)
    await way.run()
    assert [order.action for order in way.orders.given] == ["look", "look", "submit", "look", "collect"]


async def test_a_refused_key_pauses_and_the_part_goes_on_once_resumed() -> None:
    orders = Scripted(submit=[refused("invalid_api_key"), GOING], look=[OVER], collect=[COLLECTED])
    way = Way(orders)
    running = asyncio.create_task(way.run())
    while not way.paused:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert orders.count(Submit) == 1
    way.lease.become(state="in_progress", paused_for=None)
    await running
    assert (orders.count(Submit), way.stages[-1]) == (2, "collected")


async def test_a_key_that_is_gone_is_replaced_by_the_newest_before_anybody_is_asked() -> None:
    way = Way(Scripted(look=[refused("no_api_key"), OVER], collect=[COLLECTED]), stage="submitted", key_id=KEY)
    await way.run()
    assert way.paused == []


async def test_what_the_provider_does_not_take_ends_row_by_row() -> None:
    way = Way(Scripted(submit=[refused("provider_rejected")], collect=[COLLECTED]))
    await way.run()
    assert way.collect.provider_batch is None
    assert way.collect.failure is not None
    assert way.collect.failure.code == "provider_rejected"


async def test_what_passes_is_tried_again() -> None:
    script = Scripted(
        submit=[Unavailable, refused("rate_limited"), GOING],
        look=[refused("provider_unavailable"), TimeoutError, OVER],
        collect=[TimeoutError, refused("runner_fault"), COLLECTED],
    )
    way = Way(script)
    await way.run()
    assert [script.count(kind) for kind in (Submit, Look, Collect)] == [3, 3, 3]


async def test_a_provider_that_is_full_is_given_the_rows_again_later() -> None:
    fault = RunError(code="not_served", message="full")
    full = told(provider_batch="b1", state="failed", ended_at=1, fault=fault)
    way = Way(Scripted(submit=[GOING], look=[full], collect=[COLLECTED]))
    await way.run()
    assert way.collect.failure is not None
    assert way.collect.failure.retry_at == way.collect.again_at
    assert (way.collect.again_at or 0) > now_ms() + carry.FULL_AGAIN_MS / 2


async def test_a_batch_that_the_provider_does_not_know_any_more_ends_as_unknown() -> None:
    way = Way(Scripted(look=[refused("provider_rejected")], collect=[COLLECTED]), stage="submitted")
    await way.run()
    assert way.orders.count(Look) == carry.MOST_REFUSALS
    assert way.collect.failure is not None
    assert way.collect.failure.code == "outcome_unknown"


@pytest.mark.parametrize(
    ("change", "why"), [({"state": "cancelling"}, "cancelled"), ({"deadline": now_ms() - 1}, "deadline")]
)
async def test_stopped_at_the_provider_it_is_cancelled_once_and_collected(change: dict[str, Any], why: str) -> None:
    orders = Scripted(submit=[GOING], look=[GOING, GOING, OVER], cancel=[GOING], collect=[COLLECTED])
    way = Way(orders)
    orders.when[2] = lambda: way.lease.become(**change)
    await way.run()
    assert (orders.count(Cancel), way.collect.why, way.collect.again_at) == (1, why, None)


async def test_stopped_before_it_is_handed_over_it_never_is() -> None:
    way = Way(Scripted(submit=[GOING]), Lease(state="cancelling"))
    assert (await way.run()).stage == "written"
    assert way.orders.given == []


async def test_after_the_last_round_nothing_comes_again() -> None:
    way = Way(Scripted(submit=[GOING], look=[OVER], collect=[COLLECTED]))
    way.carrier._round = carry.MOST_HAND_OVERS - 1
    await way.run()
    assert way.collect.again_at is None
