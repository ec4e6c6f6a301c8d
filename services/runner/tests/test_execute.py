"""One run, from its turn to its end, against the simulated provider."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Unpack
from uuid import uuid4

import orjson
import pytest
from pydantic import SecretStr

from common.admission import Admitted
from common.contracts.credentials_v1 import Lease
from common.contracts.runs_v1 import Cost, ReplyTo, RunCompleted, RunDelta, RunRequested
from common.contracts.topics import REPLIES
from common.errors import GrantRefused, NoApiKey, TallyrunError, Unavailable
from common.identity import RUNS, Grant
from common.ids import new_id, now_ms
from common.kafka import Extras
from common.providers import Providers, ProviderSettings
from embedded.simulator import Running, running
from runner.deltas import Deltas
from runner.dispatch import GivenBack, pause
from runner.execute import Executor
from runner.limits import Limits
from runner.providers import Answer, Provider, provider_for

WORKSPACE = uuid4()
REPLY_TO = ReplyTo(partition=3, instance="somebody")


class Leaser:
    """Leases without a vault, or the refusals it is told to raise."""

    def __init__(self, *refusals: TallyrunError, secret: str = "works") -> None:
        self.refusals = list(refusals)
        self.secret = secret
        self.dropped = 0

    async def get(self, run: RunRequested, grant: Grant, token: str) -> Lease:
        if self.refusals:
            raise self.refusals.pop(0)
        return Lease(secret=SecretStr(self.secret), key_id=uuid4(), version=3, revision=1, ttl_ms=1000)

    def drop(self, lease: Lease) -> None:
        self.dropped += 1


class Slot:
    """A slot of nobody else's: waiting is all there is to wait for."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    def check(self) -> None:
        """Nothing stands still here."""

    async def again(self, seconds: float) -> None:
        await pause(seconds, self.released)


def five_cents(run: RunRequested, answer: Answer) -> Cost:
    return Cost(priced=True, total=Decimal("0.05"), components={"output": Decimal("0.05")}, catalogue="test")


@pytest.fixture
async def simulator() -> AsyncIterator[Running]:
    async with running() as simulator:
        yield simulator


@pytest.fixture
async def providers(simulator: Running) -> AsyncIterator[dict[str, Provider]]:
    settings = ProviderSettings(
        openai_base_url=simulator.openai_base_url, anthropic_base_url=simulator.anthropic_base_url
    )
    adapters = {spec.name: provider_for(spec) for spec in Providers.load(settings).all()}
    yield adapters
    for adapter in adapters.values():
        await adapter.close()


def run(**changes: Any) -> Admitted:
    now = now_ms()
    request = RunRequested(
        run_id=new_id(), workspace_id=WORKSPACE, operation="chat", provider="openai", model="gpt-4o-mini",
        body={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Name a river."}]},
        prompt_id="rivers", labels={"team": "geo"}, deadline=now + 30_000, publish_by=now + 5_000, accepted_at=now - 40,
    ).model_copy(update=changes)  # fmt: skip
    grant = Grant(
        grant_id=uuid4(),
        workspace_id=WORKSPACE,
        providers=(request.provider,),
        operations=RUNS,
        issued_at=0,
        expires_at=2**31,
    )
    return Admitted(request, grant, "token")


class Log:
    """Takes the records of deltas."""

    def __init__(self) -> None:
        self.deltas: list[RunDelta] = []
        self.away = False

    async def send(
        self, topic: str, value: bytes | None, *, timeout: float | None = None, **extras: Unpack[Extras]
    ) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("the message broker does not answer")
        assert (topic, extras["partition"]) == (REPLIES.name, REPLY_TO.partition)
        assert extras["headers"] == [("type", b"runs.v1.delta"), ("instance", REPLY_TO.instance.encode())]
        self.deltas.append(RunDelta.model_validate_json(value or b""))

    @property
    def events(self) -> list[str]:
        return [event for delta in self.deltas for event in delta.events]


class Cancelled:
    """The batches that a test has cancelled, by their ids alone."""

    def __init__(self) -> None:
        self.batches: set[str] = set()

    def include(self, run: RunRequested) -> bool:
        return run.batch_id in self.batches


class NoOrders:
    """Nothing is asked about providers' own batches."""

    async def carry_out(self, run: RunRequested, provider: Provider, lease: Lease) -> Answer:
        raise AssertionError(run)


def executor(
    providers: dict[str, Provider], leases: Leaser | None = None, call_seconds: float = 10, sender: Log | None = None
) -> Executor:
    return Executor(
        providers,
        leases or Leaser(),
        Limits(call_seconds),
        five_cents,
        Deltas(sender or Log()),
        Cancelled(),
        NoOrders(),
        call_seconds=call_seconds,
    )


async def test_a_run_succeeds_with_everything_known_of_it(providers: dict[str, Provider]) -> None:
    admitted = run()
    completed = await executor(providers).execute(admitted, Slot())
    assert completed.status == "succeeded"
    assert completed.output
    assert completed.output in (completed.response or "")
    assert completed.cost.total == Decimal("0.05")
    assert (completed.run_id, completed.accepted_at) == (admitted.request.run_id, admitted.request.accepted_at)
    assert (completed.prompt_id, completed.labels, completed.key_version) == ("rivers", {"team": "geo"}, 3)
    assert completed.prompt_preview == "Name a river."
    assert completed.queued_ms >= 40
    [attempt] = completed.attempts
    assert (attempt.outcome, attempt.status_code, attempt.cost) == ("known", 200, completed.cost)


async def test_anthropic_messages(providers: dict[str, Provider]) -> None:
    body = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Name a river."}]}
    completed = await executor(providers).execute(run(provider="anthropic", operation="messages", body=body), Slot())
    assert completed.status == "succeeded"
    assert completed.usage.input > 0


async def test_a_transient_failure_is_tried_again(simulator: Running, providers: dict[str, Provider]) -> None:
    simulator.control(script=[{"kind": "server_error", "retry_after": 0.01}])
    completed = await executor(providers).execute(run(), Slot())
    assert completed.status == "succeeded"
    assert [a.error for a in completed.attempts] == ["provider_unavailable", None]


@pytest.mark.parametrize(("kind", "code"), [
    ("invalid_api_key", "invalid_api_key"),
    ("insufficient_quota", "insufficient_quota"),
    ("model_not_found", "model_not_found"),
    ("bad_request", "provider_rejected"),
])  # fmt: skip
async def test_a_final_failure_is_called_once(
    simulator: Running, providers: dict[str, Provider], kind: str, code: str
) -> None:
    simulator.control(rules=[{"kind": kind}])
    completed = await executor(providers).execute(run(), Slot())
    assert completed.status == "failed"
    assert completed.error is not None
    assert completed.error.code == code
    assert simulator.calls()["total"] == 1


async def test_a_refused_key_drops_its_lease(simulator: Running, providers: dict[str, Provider]) -> None:
    leases = Leaser(secret="refused")
    await executor(providers, leases).execute(run(), Slot())
    assert leases.dropped == 1


async def test_rate_limited_until_the_deadline_says_when_to_come_back(
    simulator: Running, providers: dict[str, Provider]
) -> None:
    simulator.control(rules=[{"kind": "rate_limited", "retry_after": 60}])
    before = now_ms()
    completed = await executor(providers).execute(run(), Slot())
    assert completed.error is not None
    assert completed.error.code == "rate_limited"
    assert completed.error.retry_at is not None
    assert completed.error.retry_at >= before + 60_000
    assert simulator.calls()["total"] == 1


async def test_no_attempt_starts_after_the_deadline(simulator: Running, providers: dict[str, Provider]) -> None:
    completed = await executor(providers).execute(run(deadline=now_ms() - 1), Slot())
    assert completed.status == "expired"
    assert completed.attempts == []
    assert simulator.calls()["total"] == 0


async def test_a_timeout_leaves_the_outcome_unknown(simulator: Running, providers: dict[str, Provider]) -> None:
    simulator.control(rules=[{"kind": "hang"}])
    completed = await executor(providers, call_seconds=0.2).execute(run(on_unknown="fail"), Slot())
    assert completed.error is not None
    assert completed.error.code == "provider_timeout"
    assert [a.outcome for a in completed.attempts] == ["unknown"]
    assert not completed.cost.priced  # it may have been charged: never $0


async def test_without_a_key_the_error_says_what_to_do(providers: dict[str, Provider]) -> None:
    completed = await executor(providers, Leaser(NoApiKey("connect openai first"))).execute(run(), Slot())
    assert completed.error is not None
    assert (completed.error.code, completed.error.message) == ("no_api_key", "connect openai first")


async def test_a_refused_grant_ends_the_run(providers: dict[str, Provider]) -> None:
    completed = await executor(providers, Leaser(GrantRefused("revoked"))).execute(run(), Slot())
    assert completed.error is not None
    assert completed.error.code == "grant_refused"


async def test_an_expired_grant_never_reaches_the_vault(providers: dict[str, Provider]) -> None:
    admitted, leases = run(), Leaser()
    expired = Admitted(admitted.request, admitted.grant.model_copy(update={"expires_at": 1}), "token")
    completed = await executor(providers, leases).execute(expired, Slot())
    assert completed.error is not None
    assert completed.error.code == "grant_refused"


async def test_a_vault_that_is_away_is_waited_for(providers: dict[str, Provider]) -> None:
    leases = Leaser(Unavailable("away"), Unavailable("away"))
    assert (await executor(providers, leases).execute(run(), Slot())).status == "succeeded"
    assert leases.refusals == []


async def test_a_released_run_makes_no_further_attempt(simulator: Running, providers: dict[str, Provider]) -> None:
    simulator.control(rules=[{"kind": "rate_limited", "retry_after": 20}])
    slot = Slot()
    task = asyncio.create_task(executor(providers).execute(run(), slot))
    while simulator.calls()["total"] == 0:
        await asyncio.sleep(0.01)
    slot.released.set()
    with pytest.raises(GivenBack):
        await task
    assert simulator.calls()["total"] == 1


async def test_a_released_run_still_finishes_its_call(simulator: Running, providers: dict[str, Provider]) -> None:
    simulator.control(latency_ms=100)
    slot = Slot()
    slot.released.set()
    assert (await executor(providers).execute(run(), slot)).status == "succeeded"


async def test_an_unknown_provider_ends_the_run(providers: dict[str, Provider]) -> None:
    completed = await executor(providers).execute(run(provider="nowhere"), Slot())
    assert completed.error is not None
    assert "'nowhere' is not configured" in completed.error.message


async def test_a_fault_of_ours_still_ends_the_run(providers: dict[str, Provider]) -> None:
    def broken(run: RunRequested, answer: Answer) -> Cost:
        raise ZeroDivisionError

    deltas = Deltas(Log())
    executor = Executor(providers, Leaser(), Limits(10), broken, deltas, Cancelled(), NoOrders(), call_seconds=10)
    completed = await executor.execute(run(), Slot())
    assert completed.error is not None
    assert completed.error.code == "runner_fault"
    assert completed.output
    assert not completed.cost.priced  # the answer was paid for


async def test_a_check_lists_models_and_costs_nothing(simulator: Running, providers: dict[str, Provider]) -> None:
    completed = await executor(providers).execute(run(operation="check", body={}), Slot())
    assert (completed.status, completed.finish_reason, completed.cost.total) == ("succeeded", None, Decimal(0))
    assert simulator.calls()["total"] == 0


async def test_cancellation_is_not_an_end(simulator: Running, providers: dict[str, Provider]) -> None:
    simulator.control(rules=[{"kind": "hang"}])
    task = asyncio.create_task(executor(providers).execute(run(), Slot()))
    while simulator.calls()["total"] == 0:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def streaming(provider: str = "openai", **fields: Any) -> Admitted:
    """A run that somebody waits for, in a stream."""
    operation = "chat" if provider == "openai" else "messages"
    body = {
        "model": "gpt-4o-mini", "max_tokens": 200, "stream": True, **fields,
        "messages": [{"role": "user", "content": "Name a river."}],
    }  # fmt: skip
    return run(provider=provider, operation=operation, reply_to=REPLY_TO, body=body)


def same(whole: RunCompleted) -> dict[str, Any]:
    """What a run's end says of its answer, whichever way that came."""
    said = whole.model_dump(include={"status", "output", "usage", "cost", "finish_reason", "served_model"})
    return {**said, "tier": whole.service_tier, "attempts": [attempt.outcome for attempt in whole.attempts]}


TOOLS = {
    "openai": [{"type": "function", "function": {"name": "gauge", "parameters": {"properties": {"river": {}}}}}],
    "anthropic": [{"name": "gauge", "input_schema": {"properties": {"river": {}}}}],
}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_streamed_answer_is_the_same_in_the_end(providers: dict[str, Provider], provider: str) -> None:
    for fields in ({}, {"n": 3}, {"max_tokens": 5}, {"tools": TOOLS[provider]}):
        log = Log()
        streamed = await executor(providers, sender=log).execute(streaming(provider, **fields), Slot())
        whole = await executor(providers).execute(streaming(provider, **{**fields, "stream": False}), Slot())
        assert same(streamed) == same(whole), fields
        assert _answers(streamed) == _answers(whole), fields
        assert len(log.events) > 3
        assert [delta.last for delta in log.deltas] == [False] * (len(log.deltas) - 1) + [True]


def _answers(run: RunCompleted) -> Any:
    """The answer itself; the simulator says `annotations` in whole answers alone, as the real one does."""
    body = orjson.loads(run.response or "")
    for choice in body.get("choices", []):
        choice["message"].pop("annotations", None)
    return {name: value for name, value in body.items() if name != "id"}


async def test_events_are_told_in_order_and_many_at_once(simulator: Running, providers: dict[str, Provider]) -> None:
    log = Log()
    await executor(providers, sender=log).execute(streaming(), Slot())
    assert len({delta.call_id for delta in log.deltas}) == 1
    counted = 0
    for delta in log.deltas:
        assert delta.first == counted
        counted += len(delta.events)
    assert len(log.deltas) <= 4, "the simulator writes all at once: so does the runner"
    assert orjson.loads(simulator.simulator.ledger.last_body)["stream_options"] == {"include_usage": True}


BREAKS = [("cut", "lost the connection"), ("end", "broke its answer off"), ("error", "The server had an error")]


@pytest.mark.parametrize(("how", "said"), BREAKS)
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_stream_that_breaks_off_is_not_tried_again(
    simulator: Running, providers: dict[str, Provider], provider: str, how: str, said: str
) -> None:
    simulator.control(rules=[{"break_after": 3, "break_by": how, "pace_ms": 30}])
    log = Log()
    completed = await executor(providers, sender=log).execute(streaming(provider), Slot())
    assert completed.error
    assert (completed.status, completed.error.code) == ("failed", "provider_unavailable")
    assert said in completed.error.message or "Internal server error" in completed.error.message
    assert [attempt.outcome for attempt in completed.attempts] == ["unknown"]
    assert completed.cost.priced is False, "it may have been charged, so it is not free"
    assert (len(log.events), any(delta.last for delta in log.deltas)) == (3, False)
    assert simulator.calls()["total"] == 1


async def test_what_fails_before_the_first_event_is_tried_again(
    simulator: Running, providers: dict[str, Provider]
) -> None:
    failures = [{"kind": "server_error"}, {"break_after": 0, "break_by": "end"}]
    simulator.control(script=failures)
    log = Log()
    completed = await executor(providers, sender=log).execute(streaming(), Slot())
    assert completed.status == "succeeded"
    assert [attempt.outcome for attempt in completed.attempts] == ["known", "unknown", "known"]
    assert len({delta.call_id for delta in log.deltas}) == 1
    assert log.deltas[-1].last


async def test_where_nobody_waits_a_broken_stream_is_tried_again(
    simulator: Running, providers: dict[str, Provider]
) -> None:
    for unheard in ({"reply_to": None}, {"batch_id": "batch_1"}):
        simulator.control(script=[{"break_after": 3}])
        log = Log()
        alone = replace(streaming(), request=streaming().request.model_copy(update=unheard))
        completed = await executor(providers, sender=log).execute(alone, Slot())
        assert (completed.status, len(completed.attempts), log.deltas) == ("succeeded", 2, [])


@pytest.mark.parametrize("changes", [
    {"reply_to": ReplyTo(partition=0, topic=f"runs.replies.{WORKSPACE}")},
    {"reply_to": ReplyTo(partition=0, instance="me"), "batch_id": "batch_1"},
])  # fmt: skip
async def test_no_pieces_go_into_a_topic_of_the_publishers_own_or_for_a_batch(
    providers: dict[str, Provider], changes: dict[str, Any]
) -> None:
    log = Log()
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Name a river."}], "stream": True}
    completed = await executor(providers, sender=log).execute(run(body=body, **changes), Slot())
    assert (completed.status, log.deltas) == ("succeeded", [])


async def test_pieces_that_cannot_be_sent_do_not_stop_the_run(providers: dict[str, Provider]) -> None:
    log = Log()
    log.away = True
    completed = await executor(providers, sender=log).execute(streaming(), Slot())
    assert (completed.status, log.deltas) == ("succeeded", [])


async def test_a_stream_that_is_cut_short_sends_nothing_more(
    simulator: Running, providers: dict[str, Provider]
) -> None:
    simulator.control(rules=[{"pace_ms": 10}])
    log = Log()
    task = asyncio.create_task(executor(providers, sender=log).execute(streaming(), Slot()))
    while not log.deltas:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not log.deltas[-1].last
