"""One run, from its turn to its end: lease, attempts, price. Every run ends (R3)."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from common.admission import Admitted
from common.contracts.credentials_v1 import Lease
from common.contracts.runs_v1 import UNVERIFIED, Cost, RunCompleted, RunRequested
from common.errors import (
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
from runner.dispatch import GivenBack
from runner.preview import preview
from runner.progress import FREE, FinalFailure, Progress
from runner.providers import Answer, CallFailed, Provider
from runner.retry import next_wait

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 60
"""Beyond the longest call: a longer wait would pin the partition's commit, so the run ends with `retry_at` instead."""

VAULT_RETRY_SECONDS = 0.5


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
        progress = Progress(admitted.request, released)
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
        return self._completed(Progress(admitted.request, asyncio.Event(), called_before=True), error)

    async def _attempts(self, progress: Progress, admitted: Admitted) -> None:
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

    async def _lease(self, progress: Progress, admitted: Admitted) -> Lease:
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

    async def _attempt(self, provider: Provider, progress: Progress, lease: Lease) -> CallFailed | None:
        """Make one call and record it; return how it failed, None if it did not."""
        started, clock = now_ms(), time.monotonic()
        failure: CallFailed | None = None
        try:
            progress.answer = await self._call(provider, progress.run, lease)
            progress.cost = self._cost(progress.run, progress.answer)
        except CallFailed as error:
            failure = error
        took = round((time.monotonic() - clock) * 1000)
        progress.record(started, took, failure)
        return failure

    def _cost(self, run: RunRequested, answer: Answer) -> Cost:
        return FREE if run.operation == "check" else self._price(run, answer)  # listing models costs nothing

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

    async def _wait(self, failure: CallFailed, progress: Progress) -> None:
        """Wait for the next attempt, or raise the failure as final."""
        if failure.code == "invalid_api_key" and progress.lease is not None:
            self._leases.drop(progress.lease)
        if progress.run.on_unknown == "fail" and not failure.outcome_known:
            raise FinalFailure(failure)
        wait = next_wait(failure, len(progress.attempts))
        if wait is None:
            raise FinalFailure(failure)
        if now_ms() + wait * 1000 >= progress.run.deadline or wait > self._call_seconds + PATIENCE_SECONDS:
            raise FinalFailure(failure, retry_at=now_ms() + round(wait * 1000))
        await _pause(wait, progress.released)

    def _completed(self, progress: Progress, error: TallyrunError | None) -> RunCompleted:
        return progress.completed(error, preview(progress.run.body) if self._previews else "")


async def _pause(seconds: float, released: asyncio.Event) -> None:
    """Wait before another attempt; raise `GivenBack` as soon as that is somebody else's to make."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await released.wait()
    if released.is_set():
        raise GivenBack
