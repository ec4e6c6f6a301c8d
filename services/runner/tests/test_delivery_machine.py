"""Nothing lost, nothing called twice that could be avoided: whatever happens to runners, in whatever order."""

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from services.runner.tests.simulated_group import START_MS, Process, World, answer_once

MOST_PROCESSES = 3
SETTLES_WITHIN_SECONDS = 200
ITERATIONS = st.integers(1, 8)
happened: Counter[str] = Counter()


class Delivery(RuleBasedStateMachine):
    """Runs are published; runners come, go, are killed, freeze and wake; calls are answered, or not."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.others = 0
        happened["examples"] += 1

    @initialize(runners=st.integers(1, MOST_PROCESSES))
    def begin(self, runners: int) -> None:
        for _ in range(runners):
            self.world.start()
        self.seconds_pass(1)

    @rule(count=st.integers(1, 4), seconds=st.sampled_from([2, 1, 3, 0]))
    def publish(self, count: int, seconds: int) -> None:
        """Publish, half of it to be called once at most, and mostly wait until the runs are called."""
        for _ in range(count):
            number = len(self.world.runs) + 1
            self.world.publish(UUID(int=number), on_unknown="fail" if number % 4 < 2 else "retry")
        happened["runs"] += count
        self.seconds_pass(seconds)

    @precondition(lambda self: self.world.repeatable())
    @rule(data=st.data(), what=st.sampled_from(["again", "again", "poison", "late"]))
    def publish_what_must_not_be_called(self, data: st.DataObject, what: str) -> None:
        """A run that is there already, bytes that are none, a record that was never accepted."""
        happened[f"records: {what}"] += 1
        self.others += 1
        other = UUID(int=10**6 + self.others)
        if what == "again":
            self.world.publish(data.draw(st.sampled_from(self.world.repeatable())))
        elif what == "poison":
            self.world.append(other, b"{")
        else:
            self.world.publish(other, publish_by=START_MS - 1)

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.25]), iterations=ITERATIONS)
    def a_moment_passes(self, seconds: float, iterations: int) -> None:
        self.world.clock.now += seconds
        self.world.step(iterations)

    @rule(seconds=st.sampled_from([1, 2, 3, 5]))
    def seconds_pass(self, seconds: int) -> None:
        for _ in range(seconds * 2):
            self.world.clock.now += 0.5
            self.world.step(5)

    @rule(seconds=st.integers(6, 30))
    def much_time_passes(self, seconds: int) -> None:
        self.seconds_pass(seconds)

    @precondition(lambda self: any(process.calls for process in self.world.processes))
    @rule(data=st.data(), outcome=st.sampled_from(["served", "served", "rate_limited"]), iterations=ITERATIONS)
    def answer(self, data: st.DataObject, outcome: str, iterations: int) -> None:
        calls = [call for process in self.world.processes for call in process.calls.values()]
        call = data.draw(st.sampled_from(calls))
        answer_once(call, outcome)
        happened["answers"] += 1
        self.world.step(iterations)

    @precondition(lambda self: len(self.world.processes) < MOST_PROCESSES)
    @rule(iterations=ITERATIONS)
    def start(self, iterations: int) -> None:
        self.world.start()
        happened["starts"] += 1
        self.world.step(iterations)

    @precondition(lambda self: self.world.processes)
    @rule(data=st.data(), iterations=ITERATIONS)
    def terminate(self, data: st.DataObject, iterations: int) -> None:
        self._one_of(data, "SIGTERM").terminate()
        self.world.step(iterations)

    @precondition(lambda self: self.world.processes)
    @rule(data=st.data(), iterations=ITERATIONS)
    def kill(self, data: st.DataObject, iterations: int) -> None:
        process = self._one_of(data, "SIGKILL")
        happened["calls lost"] += len(process.unpublished)
        self.world.kill(process)
        self.world.step(iterations)

    @precondition(lambda self: self.world.processes)
    @rule(data=st.data(), seconds=st.sampled_from([0, 3, 5, 30]), iterations=ITERATIONS)
    def freeze(self, data: st.DataObject, seconds: int, iterations: int) -> None:
        self._one_of(data, "SIGSTOP").freeze()
        self.world.step(iterations)
        self.seconds_pass(seconds)

    def _one_of(self, data: st.DataObject, what: str) -> Process:
        """Draw a process to disturb; where there are some that call, one of them."""
        happened[what] += 1
        calling = [process for process in self.world.processes if process.unpublished]
        return data.draw(st.sampled_from(calling or self.world.processes))

    @precondition(lambda self: any(not process.awake for process in self.world.processes))
    @rule(iterations=ITERATIONS)
    def wake(self, iterations: int) -> None:
        for process in self.world.processes:
            process.awake = True
        self.world.step(iterations)

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert not self.world.wrong, self.world.wrong

    def teardown(self) -> None:
        try:
            if not self.world.wrong:
                self._settle()
        finally:
            self.world.close()

    def _settle(self) -> None:
        """Let everything come to rest, and look at the books."""
        self.world.start()
        for process in self.world.processes:
            process.awake = True
        end = self.world.clock.now + SETTLES_WITHIN_SECONDS
        while not self.world.settled and self.world.clock.now < end:
            for process in self.world.processes:
                for call in process.calls.values():
                    answer_once(call, "served")
            self.world.clock.now += 0.5
            self.world.step(4)
        assert not self.world.wrong, self.world.wrong
        assert self.world.settled, "a run has not ended, or a record is not committed"
        self._check_completions()

    def _check_completions(self) -> None:
        happened["returns to what was parked"] += self.world.turned_back
        happened["repeated calls"] += sum(count - 1 for count in self.world.calls.values() if count)
        answered = [completed for completed in self.world.completions() if not completed.error]
        for run_id, count in Counter(completed.run_id for completed in answered).items():
            assert count <= 1 + self.world.hits[run_id], run_id
        for completed in self.world.completions():
            once = self.world.runs[completed.run_id].on_unknown == "fail"
            assert completed.status == "succeeded" or (once and completed.error), completed


@pytest.mark.parametrize(
    ("examples", "steps"), [(40, 40), pytest.param(3_000, 60, marks=pytest.mark.soak)], ids=["everyday", "soak"]
)
@pytest.mark.timeout(1800)
def test_whatever_happens_in_whatever_order(examples: int, steps: int) -> None:
    happened.clear()
    profile = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(Delivery, settings=profile)
    print(", ".join(f"{count} {what}" for what, count in happened.items()))
