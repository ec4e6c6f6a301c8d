"""What holds calls back, on a clock of the test's own."""

import math
from uuid import uuid4

import pytest

from runner.breaker import Breaker
from runner.limits import KEY_REFUSALS, PATIENCE_SECONDS, PROVIDER_FAILURES, Flow, KeyVersion, Limits
from runner.providers import CallFailed
from runner.window import START, Window

FLOW = Flow(uuid4(), "openai", "gpt-4o-mini")
OTHER = Flow(uuid4(), "openai", "gpt-4o-mini")
KEY = KeyVersion(uuid4(), 1)
CALL_SECONDS = 10


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> Limits:
    return Limits(CALL_SECONDS, clock)


def failure(code: str, retry_after: float | None = None) -> CallFailed:
    return CallFailed(code, code, retryable=True, retry_after=retry_after)


def call(limits: Limits, clock: Clock, flow: Flow = FLOW, failed: CallFailed | None = None, wait: float = 0) -> None:
    """Make a call that takes no time."""
    limits.enter(flow)
    limits.ended(flow, KEY, clock(), failed, wait)
    limits.leave(flow)


class Flight:
    """Round trips of a window in simulated time: calls take a second, start as they may, and end in order."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.now = 0.0

    def fly(self, through: int) -> int:
        """Start what the window admits in a second; `through` of it succeed, the rest is refused. Return how many."""
        began = self._start()
        for number, start in enumerate(began):
            self.now = max(self.now, start + 1)
            if number < through:
                self.window.succeeded(took=1)
            else:
                self.window.limited(start, self.now)
            self.window.in_flight -= 1
        return len(began)

    def _start(self) -> list[float]:
        began, end = [], self.now + 1
        while self.now < end and (wait := self.window.wait(self.now)) < math.inf:
            self.now += wait
            self.window.enter(self.now)
            began.append(self.now)
        return began


ALL = 10**6


def test_a_window_doubles_until_something_objects() -> None:
    flight = Flight(Window())
    assert flight.fly(ALL) == START
    assert flight.fly(ALL) > 1.3 * START
    assert flight.fly(ALL) > 1.6 * START


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = Window()
    window.in_flight = 1
    for _ in range(1000):
        window.succeeded(took=1)
    window.in_flight = 0
    assert Flight(window).fly(ALL) == START


def test_a_window_is_halved_once_in_a_round_trip() -> None:
    window = Window()
    for _ in range(int(START)):
        window.enter(10)
    window.limited(began=10, now=11)
    window.in_flight = 0
    assert window.wait(11) == 0
    window.in_flight = int(START / 2) - 1
    assert window.wait(20) == 0
    window.in_flight += 1
    assert window.wait(20) == math.inf
    window.limited(began=10, now=11)  # one of the same flight: it says how many are not too many, and halves nothing
    assert window.wait(20) == math.inf
    window.in_flight -= 1
    assert window.wait(20) == 0


def test_a_window_finds_what_goes_through_and_stays_there() -> None:
    flight = Flight(Window())
    sizes = [flight.fly(through=40) for _ in range(60)]
    settled = sizes[20:]
    assert sum(min(size, 40) for size in settled) >= 0.9 * 40 * len(settled)
    assert sum(max(0, size - 40) for size in settled) <= 0.1 * 40 * len(settled)


def test_a_window_whose_limit_was_raised_finds_the_new_one() -> None:
    flight = Flight(Window())
    for _ in range(30):
        flight.fly(through=5)
    sizes = [flight.fly(through=200) for _ in range(60)]
    assert max(sizes) >= 200


def test_calls_of_a_limited_window_are_spread_over_the_round_trip() -> None:
    window = Window()
    flight = Flight(window)
    flight.fly(through=40)
    flight.fly(through=40)
    starts = [flight.now + window.wait(flight.now)]
    for _ in range(10):
        window.enter(starts[-1])
        starts.append(starts[-1] + window.wait(starts[-1]))
    assert starts[-1] - starts[0] > 0.1


def test_a_window_admits_one_call_at_least() -> None:
    window = Window()
    for at in range(100):
        window.limited(began=at, now=at + 0.5)
    assert window.wait(200) == 0


def test_after_retry_after_the_flow_is_held_and_others_are_not(limits: Limits, clock: Clock) -> None:
    call(limits, clock, failed=failure("rate_limited", 3))
    assert limits.wait(FLOW) == pytest.approx(3)
    assert limits.wait(OTHER) == 0
    clock.now += 3
    assert limits.wait(FLOW) == 0


def test_a_wait_that_is_too_long_ends_the_runs_instead(limits: Limits, clock: Clock) -> None:
    call(limits, clock, failed=failure("rate_limited", CALL_SECONDS + PATIENCE_SECONDS + 1))
    assert limits.wait(FLOW) == 0
    assert limits.too_long(FLOW) == pytest.approx(CALL_SECONDS + PATIENCE_SECONDS + 1)
    clock.now += 2
    assert limits.too_long(FLOW) is None
    assert limits.wait(FLOW) > 0


def test_the_limits_that_the_provider_reports_are_kept(limits: Limits, clock: Clock) -> None:
    call(limits, clock, wait=2)
    assert limits.wait(FLOW) == pytest.approx(2)


def test_a_full_window_waits_for_a_call_to_end(limits: Limits) -> None:
    for _ in range(int(START)):
        assert limits.wait(FLOW) == 0
        limits.enter(FLOW)
    assert limits.wait(FLOW) == math.inf
    limits.leave(FLOW)
    assert limits.wait(FLOW) == 0


def test_a_provider_that_is_away_is_tried_by_one_call_at_a_time(limits: Limits, clock: Clock) -> None:
    for _ in range(PROVIDER_FAILURES):
        assert limits.wait(OTHER) == 0
        call(limits, clock, failed=failure("provider_unavailable"))
    assert limits.wait(OTHER) == pytest.approx(1)
    clock.now += 1
    assert limits.wait(OTHER) == 0
    limits.enter(OTHER)
    assert limits.wait(FLOW) > 0  # the trial is under way
    limits.ended(OTHER, KEY, clock(), None)
    assert limits.wait(FLOW) == 0


def test_a_success_in_between_keeps_the_circuit_closed(limits: Limits, clock: Clock) -> None:
    for n in range(5 * PROVIDER_FAILURES):
        call(limits, clock, failed=failure("provider_timeout") if n % 3 else None)
    assert limits.wait(FLOW) == 0


def test_calls_under_way_when_a_circuit_opens_do_not_prolong_it() -> None:
    breaker = Breaker(threshold=2, first_cool=1, longest_cool=30)
    for _ in range(100):
        breaker.failed(began=5, now=6)
    assert breaker.wait(6) == 1
    breaker.enter(7)
    breaker.failed(began=7, now=8)
    assert breaker.wait(8) == 2


def test_refusals_break_the_circuit_of_their_key_alone(limits: Limits, clock: Clock) -> None:
    for _ in range(KEY_REFUSALS):
        assert limits.try_key(KEY) == 0
        call(limits, clock, failed=failure("invalid_api_key"))
    assert limits.try_key(KEY) > 0
    assert limits.try_key(KeyVersion(KEY.key_id, 2)) == 0
    assert limits.wait(FLOW) == 0
    clock.now += 31
    assert limits.try_key(KEY) == 0  # one trial
    assert limits.try_key(KEY) > 0


def test_many_idle_flows_are_forgotten_and_busy_ones_are_not(limits: Limits) -> None:
    limits.enter(FLOW)
    for _ in range(20_000):
        limits.wait(Flow(uuid4(), "openai", "m"))
    for _ in range(int(START) - 1):
        limits.enter(FLOW)
    assert limits.wait(FLOW) == math.inf
