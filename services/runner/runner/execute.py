"""One run, from its turn to its end: lease, attempts, price. Every run ends (R3)."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from common.admission import Admitted
from common.contracts.credentials_v1 import Lease
from common.contracts.runs_v1 import Attempt, Cost, RunCompleted, RunError, RunRequested, Status
from common.errors import (
    CallOutcomeUnknown,
    DeadlineExceeded,
    GrantRefused,
    ProviderRejected,
    RunFailed,
    RunnerFault,
    TallyrunError,
    Unavailable,
)
from common.identity import Grant
from common.ids import new_id, now_ms
from runner.dispatch import GivenBack
from runner.preview import preview
from runner.providers import Answer, CallFailed, Provider
from runner.retry import next_wait

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60
"""Beyond the longest call: a longer wait would pin the partition's commit, so the run ends with `retry_at` instead."""

VAULT_RETRY_SECONDS = 0.5

UNVERIFIED = "unverified"
"""finish_reason of a check whose provider has no endpoint to check a key with."""


class Leaser(Protocol):
    """Where provider keys come from."""

    async def get(self, run: RunRequested, grant: Grant, token: str) -> Lease:
        """Return a lease, or raise the vault's refusal."""

    def drop(self, lease: Lease) -> None:
        """Forget a lease whose key the provider refused."""


class Pricer(Protocol):
    """What an answer cost."""

    def __call__(self, run: RunRequested, answer: Answer) -> Cost:
        """Return the cost. Never raises: what is not known is unpriced."""


@dataclass
class _Progress:
    """What is known of a run while it is carried out."""

    run: RunRequested
    released: asyncio.Event
    attempts: list[Attempt] = field(default_factory=list)
    lease: Lease | None = None
    answer: Answer | None = None
    cost: Cost = field(default_factory=lambda: Cost(priced=True, total=Decimal(0)))

    @property
    def started_at(self) -> int | None:
        return self.attempts[0].started_at if self.attempts else None


class Executor:
    """Carries runs out. Times of calls are in seconds."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        leases: Leaser,
        price: Pricer,
        *,
        call_seconds: float,
        previews: bool = True,
    ) -> None:
        self._providers = providers
        self._leases = leases
        self._price = price
        self._call_seconds = call_seconds
        self._previews = previews

    async def execute(self, admitted: Admitted, released: asyncio.Event) -> RunCompleted:
        """Carry the run out and return how it ended; raise `GivenBack` instead of a further attempt once released."""
        progress = _Progress(admitted.request, released)
        try:
            await self._attempts(progress, admitted)
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
        unpriced = _Progress(admitted.request, asyncio.Event(), cost=Cost(priced=False))
        return self._completed(unpriced, error)

    async def _attempts(self, progress: _Progress, admitted: Admitted) -> None:
        """Call until an answer, a final failure or the deadline. Each attempt leases anew: keys can be rotated."""
        provider = self._provider(admitted.request.provider)
        while True:
            if now_ms() >= admitted.request.deadline:
                raise DeadlineExceeded("the deadline passed before an attempt could start")
            progress.lease = await self._lease(progress, admitted)
            failure = await self._attempt(provider, progress, progress.lease)
            if failure is None:
                return
            await self._wait(failure, progress)

    def _provider(self, name: str) -> Provider:
        if (provider := self._providers.get(name)) is None:
            raise ProviderRejected(f"provider '{name}' is not configured; known: {', '.join(sorted(self._providers))}")
        return provider

    async def _lease(self, progress: _Progress, admitted: Admitted) -> Lease:
        """Return a lease; a vault that is away is waited for until the deadline."""
        run = admitted.request
        while True:
            if admitted.grant.expired(time.time()):
                raise GrantRefused("the run's grant had expired when its turn came")
            try:
                return await self._leases.get(run, admitted.grant, admitted.token)
            except Unavailable as error:
                if now_ms() >= run.deadline:
                    raise RunnerFault("the vault could not be reached before the deadline") from error
                await _pause(VAULT_RETRY_SECONDS, progress.released)

    async def _attempt(self, provider: Provider, progress: _Progress, lease: Lease) -> CallFailed | None:
        """Make one call and record it; return how it failed, None if it did not."""
        started, clock = now_ms(), time.monotonic()
        failure: CallFailed | None = None
        try:
            progress.answer = await self._call(provider, progress.run, lease)
            if progress.run.operation != "check":  # listing models costs nothing
                progress.cost = self._price(progress.run, progress.answer)
        except CallFailed as error:
            failure = error
        took = round((time.monotonic() - clock) * 1000)
        progress.attempts.append(_attempt(progress, started, took, failure))
        return failure

    async def _call(self, provider: Provider, run: RunRequested, lease: Lease) -> Answer:
        if run.operation != "check":
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

    async def _wait(self, failure: CallFailed, progress: _Progress) -> None:
        """Wait for the next attempt, or raise the failure as final."""
        if failure.code == "invalid_api_key" and progress.lease is not None:
            self._leases.drop(progress.lease)
        if progress.run.on_unknown == "fail" and not failure.outcome_known:
            raise _Final(failure)
        wait = next_wait(failure, len(progress.attempts))
        if wait is None:
            raise _Final(failure)
        if now_ms() + wait * 1000 >= progress.run.deadline or wait > self._call_seconds + PATIENCE_SECONDS:
            raise _Final(failure, retry_at=now_ms() + round(wait * 1000))
        await _pause(wait, progress.released)

    def _completed(self, progress: _Progress, error: TallyrunError | None) -> RunCompleted:
        run, answer, ended = progress.run, progress.answer, now_ms()
        started = progress.started_at or ended
        return RunCompleted(
            **run.model_dump(include=_COPIED),
            execution_id=new_id(),
            completed_at=ended,
            status=_status(error),
            error=None if error is None else _run_error(error),
            cost=progress.cost,
            attempts=progress.attempts,
            prompt_preview=preview(run.body) if self._previews else "",
            latency_ms=max(0, ended - started),
            queued_ms=max(0, started - run.accepted_at),
            **_key(progress.lease),
            **({} if answer is None else _answered(answer)),
        )


async def _pause(seconds: float, released: asyncio.Event) -> None:
    """Wait before another attempt; raise `GivenBack` as soon as that is somebody else's to make."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await released.wait()
    if released.is_set():
        raise GivenBack


class _Final(RunFailed):
    """A failed call that is not tried again, under the code of that call."""

    def __init__(self, failure: CallFailed, retry_at: int | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.retry_at = retry_at


_COPIED = {
    "run_id", "workspace_id", "user", "operation", "provider", "model",
    "prompt_id", "labels", "batch_id", "custom_id", "accepted_at",
}  # fmt: skip


def _attempt(progress: _Progress, started_at: int, latency_ms: int, failure: CallFailed | None) -> Attempt:
    number = len(progress.attempts) + 1
    if failure is None:
        assert progress.answer is not None
        usage = progress.answer.usage
        return Attempt(
            number=number, started_at=started_at, latency_ms=latency_ms, outcome="known", status_code=200,
            usage=usage, cost=progress.cost,
        )  # fmt: skip
    return Attempt(
        number=number, started_at=started_at, latency_ms=latency_ms, status_code=failure.status_code,
        outcome="known" if failure.outcome_known else "unknown", error=failure.code,
    )  # fmt: skip


def _status(error: TallyrunError | None) -> Status:
    if error is None:
        return "succeeded"
    return "expired" if isinstance(error, DeadlineExceeded) else "failed"


def _run_error(error: TallyrunError) -> RunError:
    if isinstance(error, _Final):
        return RunError(code=error.failure.code, message=error.message, retry_at=error.retry_at)
    return RunError(code=error.code if isinstance(error, RunFailed) else RunnerFault.code, message=error.message)


def _key(lease: Lease | None) -> dict[str, object]:
    return {} if lease is None else {"key_id": lease.key_id, "key_version": lease.version}


def _answered(answer: Answer) -> dict[str, object]:
    return {
        "output": answer.output,
        "response": answer.response,
        "finish_reason": answer.finish_reason,
        "served_model": answer.served_model,
        "service_tier": answer.service_tier,
        **({} if answer.usage is None else {"usage": answer.usage}),
    }
