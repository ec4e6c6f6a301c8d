"""What holds calls back: each flow's window and waits, and the circuits of providers and keys (R4). Pure."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from common.contracts.runs_v1 import RunRequested
from runner.breaker import Breakers
from runner.providers import CallFailed
from runner.window import Window

PATIENCE_SECONDS = 60
"""Beyond the longest call: a longer wait would pin the partition's commit, so the run ends with `retry_at` instead."""

PROVIDER_FAILURES, PROVIDER_COOLS = 10, (1.0, 30.0)
"""Calls in a row, of whichever workspace, that a provider did not carry out; seconds until it is tried again."""

KEY_REFUSALS, KEY_COOLS = 5, (30.0, 30.0)
"""Refusals of a key in a row. It takes more than one: a 403 may be about the request."""

AWAY = ("provider_unavailable", "provider_timeout")

REMEMBERED = 10_000
"""Flows kept at most; idle ones go first."""


class Flow(NamedTuple):
    """What a provider limits as one: calls of a workspace to a model."""

    workspace_id: UUID
    provider: str
    model: str


def flow_of(run: RunRequested) -> Flow:
    """Return what the provider counts the run's calls as."""
    return Flow(run.workspace_id, run.provider, run.model)


class KeyVersion(NamedTuple):
    """A provider key as it was leased: one that was rotated is another."""

    key_id: UUID
    version: int


class _State:
    def __init__(self) -> None:
        self.window = Window()
        self.held_until = -math.inf


class Limits:
    """Knows when a call may start. Waits are in seconds: 0 is now, infinity is "when another call has ended"."""

    def __init__(self, call_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.longest_wait = call_seconds + PATIENCE_SECONDS
        """A run that would have to wait for longer ends instead."""
        self._clock = clock
        self._flows: dict[Flow, _State] = {}
        self._providers: Breakers[str] = Breakers(PROVIDER_FAILURES, *PROVIDER_COOLS)
        self._keys: Breakers[KeyVersion] = Breakers(KEY_REFUSALS, *KEY_COOLS)

    def wait(self, flow: Flow) -> float:
        """Return how long a call of this flow has to wait. One that is refused for longer may start, and end, at once.

        A flow held for longer than `too_long` returns 0, since its runs end without a call.
        """
        if self.too_long(flow):
            return 0.0
        state, now = self._state(flow), self._clock()
        return max(state.held_until - now, self._providers[flow.provider].wait(now), state.window.wait(now))

    def too_long(self, flow: Flow) -> float | None:
        """Return the seconds until the flow may call, where that is too long to wait for; otherwise None."""
        held = self._state(flow).held_until - self._clock()
        return held if held > self.longest_wait else None

    def enter(self, flow: Flow) -> None:
        """Note that a run of the flow is being carried out."""
        now = self._clock()
        self._state(flow).window.enter(now)
        self._providers[flow.provider].enter(now)

    def leave(self, flow: Flow) -> None:
        """Note that it is not any more."""
        self._state(flow).window.in_flight -= 1

    def ended(self, flow: Flow, key: KeyVersion, began: float, failure: CallFailed | None, wait: float = 0) -> None:
        """Learn from a call that began then. `wait`: how long the provider's own limits forbid another."""
        now, state = self._clock(), self._state(flow)
        if failure is None:
            state.window.succeeded(now - began)
        elif failure.code == "rate_limited":
            state.window.limited(began, now)
            wait = failure.retry_after or 0
        state.held_until = max(state.held_until, now + wait)
        self._circuits(flow.provider, key, began, failure)

    def try_key(self, key: KeyVersion) -> float:
        """Return for how long nothing may be sent under this key, refused time and again; 0: a call is made."""
        now = self._clock()
        if not (wait := self._keys[key].wait(now)):
            self._keys[key].enter(now)
        return wait

    def provider_open(self, provider: str) -> bool:
        """Whether a provider is not called for a while."""
        return self._providers.open(provider, self._clock())

    @property
    def keys_open(self) -> int:
        """How many keys are not used for a while."""
        return self._keys.count_open(self._clock())

    def _circuits(self, provider: str, key: KeyVersion, began: float, failure: CallFailed | None) -> None:
        code = failure.code if failure else None
        if code == "runner_fault":
            return
        if code in AWAY:
            self._providers[provider].failed(began, self._clock())
            return
        self._providers[provider].succeeded()
        if code == "invalid_api_key":
            self._keys[key].failed(began, self._clock())
        else:
            self._keys[key].succeeded()

    def _state(self, flow: Flow) -> _State:
        if (state := self._flows.get(flow)) is None:
            if len(self._flows) >= REMEMBERED:
                self._forget_idle()
            state = self._flows[flow] = _State()
        return state

    def _forget_idle(self) -> None:
        now = self._clock()
        self._flows = {f: s for f, s in self._flows.items() if s.window.in_flight or s.held_until > now}
