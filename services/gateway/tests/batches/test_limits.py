"""The pure parts of feeding: the window, the budget, and the states of rows."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.batches.again import KEY_REFUSED, End, due, may_come_again
from gateway.batches.budget import Budget
from gateway.batches.states import RowState, RowStates
from gateway.batches.window import LARGEST, SMALLEST, Rate, window

DEADLINE = 1_000_000
BOUND = Decimal("0.01")


@pytest.mark.parametrize(
    ("rate", "latency", "rows"),
    [(0, 0, 200), (10, 1, 200), (100, 0, 1000), (100, 30, 4000), (500, 0.5, 5250), (5000, 1, 10_000)],
)
def test_about_ten_seconds_of_work_are_unfinished(rate: float, latency: float, rows: int) -> None:
    assert window(rate, latency) == rows


@given(st.floats(0, 1e6), st.floats(0, 1e4))
def test_the_window_has_bounds(rate: float, latency: float) -> None:
    assert SMALLEST <= window(rate, latency) <= LARGEST


def test_the_rate_is_that_of_the_last_ten_seconds() -> None:
    rate = Rate()
    assert rate.measured(0) == (0, 0)
    for second in range(20):
        for _ in range(50):
            rate.ended(second + 0.5, latency=2)
    assert rate.measured(19.9) == (50, 2)
    assert rate.measured(24.9) == (25, 2)
    assert rate.measured(60) == (0, 0)


class Spending(RuleBasedStateMachine):
    """Feeds whatever fits, lets runs end as they like within their bounds, and tells of it early, late or twice."""

    LIMIT = Decimal("0.1")

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(self.LIMIT)
        self.flights: dict[int, Decimal] = {}
        self.executions: dict[UUID, tuple[Decimal | None, Decimal]] = {}
        self.shown: set[UUID] = set()
        self.row = 0

    @rule(most=st.decimals("0.0001", "0.02", places=12))
    def feed(self, most: Decimal) -> None:
        if self.budget.fits(most):
            self.row += 1
            self.budget.reserve(self.row, most)
            self.flights[self.row] = most

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), share=st.one_of(st.none(), st.decimals("0", "1", places=6)), replied=st.booleans())
    def end(self, data: Any, share: Decimal | None, replied: bool) -> None:
        row = data.draw(st.sampled_from(sorted(self.flights)))
        most, execution = self.flights.pop(row), uuid4()
        cost = None if share is None else most * share
        self.executions[execution] = cost, most
        if replied:
            self.budget.told(execution, cost, most)
            self.budget.told(execution, cost, most)
        else:
            self.show(execution)
        self.budget.release(row)

    @precondition(lambda self: self.executions.keys() - self.shown)
    @rule(data=st.data())
    def read(self, data: Any) -> None:
        self.show(data.draw(st.sampled_from(sorted(self.executions.keys() - self.shown))))

    def show(self, execution: UUID) -> None:
        self.shown.add(execution)
        self.budget.counted(execution, *self.executions[execution])

    @invariant()
    def the_limit_holds_whatever_becomes_of_those_in_flight(self) -> None:
        known = sum((cost for cost, _ in self.executions.values() if cost is not None), Decimal(0))
        unknown = sum((most for cost, most in self.executions.values() if cost is None), Decimal(0))
        assert known + unknown + sum(self.flights.values(), Decimal(0)) <= self.LIMIT
        assert self.budget.cost == known
        assert self.budget.unconfirmed == (self.executions.keys() != self.shown)


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


ENDS = st.one_of(
    st.builds(End, st.sampled_from(["succeeded", "expired", "cancelled"])),
    st.builds(End, st.just("failed"), st.sampled_from(["provider_rejected", "invalid_api_key", "runner_fault"])),
    st.builds(End, st.just("failed"), st.just("rate_limited"), st.integers(0, 2 * DEADLINE)),
)


class Feeding(RuleBasedStateMachine):
    """Feeds rows, and lets ends come twice, late, after a round that followed, and without acknowledgement."""

    ROWS = 6

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.states = RowStates(self.ROWS, DEADLINE)
        self.sent: dict[tuple[int, int], int] = {}
        self.ends: list[tuple[int, int, End]] = []
        self.final: dict[int, End] = {}

    @rule()
    def feed(self) -> None:
        row = self.states.next(self.now)
        if row is None:
            return
        assert row not in self.final, "a row that has ended is fed again"
        number = self.states.round(row)
        assert (row, number) not in self.sent, "a round is fed twice"
        assert all((row, n) in self.sent for n in range(number)), "a round is left out"
        self.sent[row, number] = self.now
        self.states.start(row, self.now)

    @precondition(lambda self: self.states.flights)
    @rule(data=st.data())
    def unsent(self, data: Any) -> None:
        row = data.draw(st.sampled_from(sorted(self.states.flights)))
        del self.sent[row, self.states.round(row)]
        self.states.unsent(row, self.now)

    @precondition(lambda self: self.states.flights)
    @rule(data=st.data(), end=ENDS)
    def end(self, data: Any, end: End) -> None:
        row = data.draw(st.sampled_from(sorted(self.states.flights)))
        number = self.states.round(row)
        self.ends.append((row, number, end))
        self.states.ended(row, number, end, self.now)
        if due(end, number, self.now, DEADLINE) is None:
            self.final[row] = end

    @precondition(lambda self: self.ends)
    @rule(data=st.data())
    def again(self, data: Any) -> None:
        before = [self.states[row] for row in range(self.ROWS)], dict(self.states.flights)
        row, number, end = data.draw(st.sampled_from(self.ends))
        self.states.ended(row, number, end, self.now)
        assert before == ([self.states[row] for row in range(self.ROWS)], dict(self.states.flights))

    @rule(later=st.integers(1, DEADLINE // 4))
    def wait(self, later: int) -> None:
        self.now += later

    @rule()
    def resume(self) -> None:
        self.states.resume(self.now)

    @invariant()
    def counts_add_up(self) -> None:
        assert sum(self.states.count(state) for state in RowState) == self.ROWS
        assert self.states.open == self.ROWS - len(self.final)
        assert self.states.fed == len({row for row, _ in self.sent})
        for row, end in self.final.items():
            assert self.states[row].name == end.status.upper()

    def teardown(self) -> None:
        self.states.give_up_all(RowState.CANCELLED)
        self.states.lose_all()
        assert self.states.open == 0
        assert not self.states.flights


TestFeeding = Feeding.TestCase
TestFeeding.settings = settings(max_examples=50, stateful_step_count=50, deadline=None)


@pytest.mark.parametrize(
    ("end", "again"),
    [
        (End("succeeded"), None),
        (End("failed", "provider_rejected"), None),
        (End("failed", "rate_limited"), None),
        (End("failed", "rate_limited", 700), 700),
        (End("failed", "rate_limited", 100), 500),
        (End("failed", "rate_limited", DEADLINE), None),
        (End("failed", "runner_fault"), 5_500),
        *((End("failed", code), "held") for code in sorted(KEY_REFUSED)),
    ],
    ids=str,
)
def test_what_is_fed_again(end: End, again: object) -> None:
    assert due(end, 0, 500, DEADLINE) == again
    assert may_come_again(end, DEADLINE) == (again is not None)


def test_a_fault_of_ours_does_not_go_round_for_ever() -> None:
    assert due(End("failed", "runner_fault"), 5, 500, DEADLINE) is None


def test_after_a_crash_the_rounds_go_on_whatever_order_they_are_found_in() -> None:
    ends: list[Callable[[RowStates], object]] = [
        lambda states: states.ended(0, 1, End("failed", "runner_fault"), 0),
        lambda states: states.ended(0, 0, End("failed", "runner_fault"), 0),
        lambda states: states.ended(1, 0, End("failed", "invalid_api_key"), 0),
    ]
    states = RowStates(4, DEADLINE)
    for end in ends:
        end(states)
    for row, number in ((0, 0), (0, 1), (0, 2), (1, 0), (2, 0)):
        states.accepted(row, number)
    assert [states[row].name for row in range(4)] == ["IN_FLIGHT", "WAITING", "IN_FLIGHT", "UNFED"]
    assert [states.round(row) for row in range(4)] == [2, 1, 0, 0]
    assert states.next(0) == 3
    states.resume(0)
    assert states.next(0) == 1
