"""One run, from its turn to its end: lease, attempts, price. Every run ends (R3)."""

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from common.admission import Admitted
from common.contracts.credentials_v1 import Lease
from common.contracts.runs_v1 import ORDERS, UNVERIFIED, Cost, RunCompleted, RunRequested
from common.errors import (
    BatchWasCancelled,
    CallOutcomeUnknown,
    DeadlineExceeded,
    GrantRefused,
    ProviderRejected,
    RunnerFault,
    TallyrunError,
    Unavailable,
)
from common.identity import Grant
from common.ids import now_ms
from common.telemetry import TRACING
from runner.dispatch import GivenBack, Slot, pause
from runner.limits import Flow, KeyVersion, flow_of
from runner.metrics import RETRIES, called
from runner.preview import preview
from runner.progress import FREE, FinalFailure, Progress
from runner.providers import Answer, CallFailed, Hearing, Provider
from runner.retry import next_wait
from runner.spans import describe_call

log = logging.getLogger(__name__)

VAULT_RETRY_SECONDS = 0.5

QUOTA_RETRY_SECONDS = 60
"""When a run refused for the waiting quota is worth sending again."""


class Leaser(Protocol):
    """Where provider keys come from."""

    async def get(self, run: RunRequested, grant: Grant, token: str) -> Lease:
        """Return a lease, or raise the vault's refusal."""

    def drop(self, lease: Lease) -> None:
        """Forget a lease whose key the provider refused."""


class Limits(Protocol):
    """What holds calls back, and learns from each. A run ends rather than waits for longer than `longest_wait`."""

    longest_wait: float

    def too_long(self, flow: Flow) -> float | None:
        """Return the seconds until the flow may call, where that is too long to wait for."""

    def try_key(self, key: KeyVersion) -> float:
        """Return for how long nothing may be sent under this key; 0: a call is made."""

    def ended(self, flow: Flow, key: KeyVersion, began: float, failure: CallFailed | None, wait: float = 0) -> None:
        """Learn from a call that began then (`time.monotonic()`)."""


class Pricer(Protocol):
    """What an answer cost."""

    def __call__(self, run: RunRequested, answer: Answer) -> Cost:
        """Return the cost. Never raises: what is not known is unpriced."""


class Listener(Hearing, Protocol):
    """Takes one call's answer."""

    @property
    def begun(self) -> bool:
        """Whether somebody may have seen a piece of the answer."""


class Deltas(Protocol):
    """Tells answers to who waits while they are written."""

    def telling(self, run: RunRequested) -> AbstractAsyncContextManager[Listener]:
        """Yield what takes the events of one call; at the end of the block all of them have been sent."""


class BatchOrders(Protocol):
    """Does what is ordered about providers' own batches."""

    async def carry_out(self, run: RunRequested, provider: Provider, lease: Lease) -> Answer:
        """Return what came of the run's order, or raise `CallFailed`, or a `TallyrunError` that is final."""


class Cancelled(Protocol):
    """Which batches were cancelled."""

    def include(self, run: RunRequested) -> bool:
        """Whether the run's is one of them."""


class Executor:
    """Carries runs out. Times of calls are in seconds."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        leases: Leaser,
        limits: Limits,
        price: Pricer,
        deltas: Deltas,
        cancelled: Cancelled,
        orders: BatchOrders,
        *,
        call_seconds: float,
        previews: bool = True,
    ) -> None:
        self._providers = providers
        self._leases = leases
        self._limits = limits
        self._price = price
        self._deltas = deltas
        self._cancelled = cancelled
        self._orders = orders
        self._call_seconds = call_seconds
        self._previews = previews

    async def execute(self, admitted: Admitted, slot: Slot) -> RunCompleted:
        """Carry the run out and return how it ended; raise `GivenBack` instead of a further attempt once released."""
        progress = Progress(admitted.request)
        try:
            await self._attempts(progress, admitted, slot)
        except GivenBack:
            raise
        except TallyrunError as error:
            return self._completed(progress, error)
        except Exception:
            log.exception("a run met a fault of ours", extra={"run_id": str(admitted.request.run_id)})
            return self._completed(progress, RunnerFault("the runner met an unexpected fault; it has been logged"))
        return self._completed(progress, None)

    def outcome_unknown(self, admitted: Admitted) -> RunCompleted:
        """Return the end of a run that was called by somebody who never told how it ended, and must not be again."""
        error = CallOutcomeUnknown("the provider may have been called, and may have charged, before a runner was lost")
        return self._completed(Progress(admitted.request, called_before=True), error)

    def over_quota(self, admitted: Admitted) -> RunCompleted:
        """Return the end of a run that its workspace has no room for among those that wait."""
        message = "too many interactive runs of this workspace are waiting; publish bulk to runs.batched.v1"
        return self._completed(Progress(admitted.request), _later("rate_limited", message, QUOTA_RETRY_SECONDS))

    async def _attempts(self, progress: Progress, admitted: Admitted, slot: Slot) -> None:
        """Call until an answer, a final failure or the deadline. Each attempt leases anew: keys can be rotated."""
        provider = self._provider(admitted.request.provider)
        while True:
            self._check_time(progress.run)
            progress.lease = await self._lease(admitted, slot)
            slot.check()
            self._check_batch(admitted.request)
            failure = await self._attempt(provider, progress, progress.lease)
            if failure is None:
                return
            await self._wait(failure, progress, slot)

    def _check_batch(self, run: RunRequested) -> None:
        """Raise if nothing of the run's batch shall be called any more."""
        if self._cancelled.include(run):
            raise BatchWasCancelled("the batch was cancelled before the call began")

    def _check_time(self, run: RunRequested) -> None:
        """Raise unless an attempt may start now."""
        if now_ms() >= run.deadline:
            raise DeadlineExceeded("the deadline passed before an attempt could start")
        if (held := self._limits.too_long(flow_of(run))) is not None:
            raise _later("rate_limited", f"Rate limit exceeded at {run.provider}, for {held:.0f} s more", held)

    def _check_key(self, run: RunRequested, key: KeyVersion) -> None:
        """Raise while nothing may be sent under this key."""
        if wait := self._limits.try_key(key):
            message = f"Invalid API key: {run.provider} refused it several times in a row, connect again"
            raise _later("invalid_api_key", message, wait)

    def _provider(self, name: str) -> Provider:
        if (provider := self._providers.get(name)) is None:
            raise ProviderRejected(f"provider '{name}' is not configured; known: {', '.join(sorted(self._providers))}")
        return provider

    async def _lease(self, admitted: Admitted, slot: Slot) -> Lease:
        """Return a lease; a vault that is away is waited for until the deadline."""
        run = admitted.request
        while True:
            self._check_batch(run)
            if (fault := admitted.grant.fault(time.time())) is not None:
                raise GrantRefused(f"{fault}: so it was when the run's turn came")
            try:
                return await self._leases.get(run, admitted.grant, admitted.token)
            except Unavailable as error:
                if now_ms() >= run.deadline:
                    raise RunnerFault("the vault could not be reached before the deadline") from error
                await pause(VAULT_RETRY_SECONDS, slot.released)

    async def _attempt(self, provider: Provider, progress: Progress, lease: Lease) -> CallFailed | None:
        """Make one call and record it; return how it failed, None if it did not."""
        key = KeyVersion(lease.key_id, lease.version)
        self._check_key(progress.run, key)
        started, clock = now_ms(), time.monotonic()
        failure: CallFailed | None = None
        with TRACING.span(f"call {progress.run.provider}", "client") as span:
            try:
                progress.answer = await self._call(provider, progress, lease)
                progress.cost = self._cost(progress.run, progress.answer)
            except CallFailed as error:
                failure = error
            describe_call(span, progress.run, len(progress.attempts) + 1, failure or progress.answer)
        seconds = time.monotonic() - clock
        progress.record(started, round(seconds * 1000), failure)
        called(progress.run.provider, progress.run.model, failure.code if failure else "succeeded", seconds)
        self._limits.ended(flow_of(progress.run), key, clock, failure, progress.wait_seconds)
        return failure

    def _cost(self, run: RunRequested, answer: Answer) -> Cost:
        return FREE if run.operation in ORDERS else self._price(run, answer)

    async def _call(self, provider: Provider, progress: Progress, lease: Lease) -> Answer:
        run = progress.run
        if run.operation == "batch":
            return await self._orders.carry_out(run, provider, lease)
        if run.operation != "check":
            if run.body.get("stream"):
                return await self._stream(provider, progress, lease)
            return await provider.call(run.operation, run.body, lease.secret, self._call_seconds)
        verified = await provider.check(lease.secret)
        return Answer(
            response="",
            output=None,
            finish_reason=None if verified else UNVERIFIED,
            served_model=None,
            service_tier=None,
            usage=None,
        )

    async def _stream(self, provider: Provider, progress: Progress, lease: Lease) -> Answer:
        run = progress.run
        async with self._deltas.telling(run) as listener:
            try:
                return await provider.stream(run.operation, run.body, lease.secret, self._call_seconds, listener)
            finally:
                progress.told = listener.begun

    async def _wait(self, failure: CallFailed, progress: Progress, slot: Slot) -> None:
        """Wait for the next attempt, or raise the failure as final: once a piece was seen there is no other answer."""
        if failure.code == "invalid_api_key" and progress.lease is not None:
            self._leases.drop(progress.lease)
        if progress.told or (progress.run.on_unknown == "fail" and not failure.outcome_known):
            raise FinalFailure(failure)
        wait = next_wait(failure, len(progress.attempts))
        if wait is None:
            raise FinalFailure(failure)
        if now_ms() + wait * 1000 >= progress.run.deadline or wait > self._limits.longest_wait:
            raise FinalFailure(failure, retry_at=now_ms() + round(wait * 1000))
        RETRIES.labels(progress.run.provider, failure.code).inc()
        await slot.again(wait)

    def _completed(self, progress: Progress, error: TallyrunError | None) -> RunCompleted:
        return progress.completed(error, preview(progress.run.body) if self._previews else "")


def _later(code: str, message: str, seconds: float) -> FinalFailure:
    """Return the end of a run that was not called, and may be sent again after so long."""
    return FinalFailure(CallFailed(code, message), retry_at=now_ms() + round(seconds * 1000))
