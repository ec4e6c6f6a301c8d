"""How the runner is put together."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import cache, partial

from fastapi import FastAPI

from common.admission import Admission
from common.callers import speaker
from common.contracts.runs_v1 import Cost, RunCompleted, RunRequested
from common.contracts.topics import is_bulk
from common.errors import Unavailable
from common.http import ServiceClient, service_app
from common.identity import Verifier
from common.kafka import Publisher, declare_topics
from common.objects import Objects
from common.periodic import repeating
from common.pricing import Call, price
from common.providers import Providers, ProviderSettings
from common.telemetry import TRACING, about
from runner import metrics
from runner.cancelled import CancelledBatches
from runner.complete import Completions
from runner.consumer import RunConsumer
from runner.deltas import Deltas
from runner.dispatch import Dispatcher, GivenBack, Slot, Turn
from runner.evictions import Evictions
from runner.execute import Executor
from runner.halt import Halt
from runner.handover import Handovers
from runner.journal import Journal
from runner.lane import Lane
from runner.leases import Leases
from runner.limits import Limits
from runner.orders import Orders
from runner.parking import Parking
from runner.providers import Answer, provider_for
from runner.rejections import Rejections
from runner.replies import OwnTopics, Replies
from runner.settings import RunnerSettings
from runner.spans import describe_end
from runner.vault import HttpVault

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
"""The runner's HTTP side answers probes only."""

LEAVE_SECONDS = 5.0
LAG_SECONDS = 5.0
"""How often the broker is asked for it."""


class Runner:
    """The parts of one runner process, wired."""

    def __init__(self, settings: RunnerSettings, provider_settings: ProviderSettings) -> None:
        self._settings = settings
        bootstrap = settings.kafka_bootstrap_servers
        specs = Providers.load(provider_settings).all()
        self._providers = {spec.name: provider_for(spec) for spec in specs}
        self._catalogues = {spec.name: spec.catalogue for spec in specs}
        self._vault = ServiceClient(str(settings.vault_url), "vault", speaker("runner", settings))
        leases = Leases(HttpVault(self._vault))
        self._publisher = Publisher(bootstrap)
        self._own_topics = OwnTopics(bootstrap)
        self._completions = Completions(self._publisher, Replies(self._publisher, self._own_topics))
        self._cancelled = CancelledBatches(bootstrap, self._hurry)
        limits = Limits(settings.call_seconds)
        self._executor = Executor(
            self._providers,
            leases,
            limits,
            self._price,
            Deltas(self._publisher),
            self._cancelled,
            self._orders(settings),
            call_seconds=settings.call_seconds,
            previews=settings.prompt_previews,
        )
        self._dispatcher = Dispatcher(
            limits, self._carry_out, settings.runner_slots, self._stalled, self._cancelled.include
        )
        self._admission = Admission(Verifier.load(settings.identity_dir))
        self._halt = Halt()
        self._journal = Journal(bootstrap)
        self._rejections = Rejections(self._publisher)
        self._handovers = Handovers(self._publisher)
        self._call_seconds = settings.call_seconds
        self.consumer = RunConsumer(
            bootstrap, settings.runner_group, settings.session_seconds, self._halt, self._lane, self._give_up
        )
        self._evictions = Evictions(bootstrap, leases)
        self._watch(limits)

    def _watch(self, limits: Limits) -> None:
        """Let what is looked up at each scrape be found."""
        metrics.IN_FLIGHT.set_function(lambda: self._dispatcher.in_flight)
        metrics.PARKED.set_function(lambda: self.consumer.parked)
        for kind, bulk in (("interactive", False), ("bulk", True)):
            metrics.IN_HAND.labels(kind).set_function(partial(self.consumer.in_hand, bulk=bulk))
        for name in self._providers:
            metrics.PROVIDER_OPEN.labels(name).set_function(partial(limits.provider_open, name))
        metrics.KEYS_OPEN.set_function(lambda: limits.keys_open)

    async def _measure_lag(self) -> None:
        metrics.lags(await self.consumer.lag())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Consume and carry out until the end of the block, then drain."""
        await declare_topics(self._settings.kafka_bootstrap_servers, self._settings.kafka_replication)
        async with AsyncExitStack() as stack:
            for provider in self._providers.values():
                stack.push_async_callback(provider.close)
            stack.push_async_callback(self._vault.close)
            for part in (self._publisher, self._own_topics, self._evictions, self._cancelled):
                await part.start()
                stack.push_async_callback(part.close)
            await stack.enter_async_context(repeating(self._measure_lag, LAG_SECONDS))
            beating = asyncio.create_task(self.consumer.beat())
            tasks = [asyncio.create_task(self.consumer.run()), asyncio.create_task(self._dispatcher.run())]
            try:
                yield
            finally:
                await self._drain(tasks)
                beating.cancel()

    async def _drain(self, tasks: list[asyncio.Task[None]]) -> None:
        """Start nothing more, leave at once so that nobody waits, let the calls finish."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._call_seconds = min(self._call_seconds, self._settings.drain_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self.consumer.leave()
        cut_short = await self._dispatcher.drain(self._settings.drain_seconds)
        if cut_short:
            log.warning("calls were cut short; their runs will be called again", extra={"calls": len(cut_short)})
            await self._handovers.give_back(turn for turn in cut_short if not turn.once)

    def _lane(self, parking: Parking) -> Lane:
        return Lane(
            self._admission,
            self._halt,
            self._journal,
            self._dispatcher,
            self._rejections.publish,
            self._refuse,
            parking,
        )

    def _stalled(self) -> bool:
        return self.consumer.stalled()

    def _hurry(self) -> None:
        self._dispatcher.wake()

    async def _give_up(self) -> None:
        calling = self._dispatcher.release()
        if not self._stalled():  # else they may be somebody else's by now, and what is said of them here is stale
            await self._handovers.hand_over(calling, self._call_seconds)

    async def _carry_out(self, turn: Turn, slot: Slot) -> None:
        run = turn.admitted.request
        with TRACING.span("run", "consumer", turn.parent) as span:
            about(run.run_id, run.workspace_id, run.provider, run.model)
            try:
                completed = await self._execute(turn, slot)
            except GivenBack:
                if not self._stalled():
                    await self._handovers.give_back([turn])
                raise
            await self._publish(turn, completed)
            describe_end(span, completed)

    async def _execute(self, turn: Turn, slot: Slot) -> RunCompleted:
        if turn.called_before:
            return self._executor.outcome_unknown(turn.admitted)
        if turn.once:
            await self._completions.start(turn.run_id, turn.journal)
        return await self._executor.execute(turn.admitted, slot)

    async def _refuse(self, turn: Turn) -> None:
        await self._publish(turn, self._executor.over_quota(turn.admitted))

    async def _publish(self, turn: Turn, completed: RunCompleted) -> None:
        await self._completions.publish(completed, turn.journal, turn.admitted.request.reply_to)
        metrics.ended(completed, bulk=is_bulk(turn.topic))

    def _price(self, run: RunRequested, answer: Answer) -> Cost:
        return self._priced(run.provider, run.model, answer, datetime.now(UTC))

    def _orders(self, settings: RunnerSettings) -> Orders:
        contents = cache(lambda: Objects(settings.files_url))
        priced = partial(self._priced, batch=True)
        return Orders(contents, self._completions, priced, previews=settings.prompt_previews)

    def _priced(self, provider: str, model: str, answer: Answer, at: datetime, *, batch: bool = False) -> Cost:
        used = answer.served_model, answer.service_tier, answer.usage, answer.price_context
        return price(self._catalogues[provider], Call(model, *used, batch=batch), at)

    async def ready(self) -> None:
        """Raise `Unavailable` while this runner is no member of the group."""
        if self._halt.halted:
            raise Unavailable("the runner has halted: nothing it reads is a run; its log and runs.rejected.v1 say why")
        if not self.consumer.connected:
            raise Unavailable("the runner has not joined its group")

    async def alive(self) -> None:
        """Raise `Unavailable` while the consumer hangs. Halted, it waits for an operator: a restart would not help."""
        if not self._halt.halted:
            await self.consumer.heartbeat.check()


def create_app(settings: RunnerSettings, provider_settings: ProviderSettings) -> FastAPI:
    """Return the runner's HTTP side; its life is the runner's."""
    runner: Runner | None = None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        nonlocal runner
        runner = Runner(settings, provider_settings)
        async with runner.running():
            yield

    async def ready() -> None:
        if runner is None:
            raise Unavailable("the runner is starting")
        await runner.ready()

    async def alive() -> None:
        if runner is not None:
            await runner.alive()

    return service_app("Tallyrun runner", lifespan, ready, MAX_BODY_BYTES, alive=alive)
