"""When reading on would set the backlog aside."""

from uuid import uuid4

import pytest

from runner.halt import FAILURES, Halt, Halted

A, B, C = uuid4(), uuid4(), uuid4()


def test_failures_of_three_workspaces_in_a_row_halt() -> None:
    halt = Halt()
    for n in range(FAILURES - 1):
        halt.failed((A, B, C)[n % 3])
    with pytest.raises(Halted):
        halt.failed(A)
    with pytest.raises(Halted):
        halt.check()


def test_one_tenant_or_two_never_halt_others() -> None:
    halt = Halt()
    for n in range(10 * FAILURES):
        halt.failed((A, B)[n % 2])
    halt.check()


def test_a_run_in_between_begins_the_row_anew() -> None:
    halt = Halt()
    for n in range(10 * FAILURES):
        if n % (FAILURES - 1) == 0:
            halt.passed()
        halt.failed((A, B, C)[n % 3])
    halt.check()


def test_a_third_workspace_makes_a_long_row_ours() -> None:
    halt = Halt()
    for n in range(10 * FAILURES):
        halt.failed((A, B)[n % 2])
    with pytest.raises(Halted):
        halt.failed(C)
