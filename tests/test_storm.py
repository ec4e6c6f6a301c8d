"""The promise: kill or freeze runners whenever you like, and every run ends in the books, once."""

import asyncio
import os
import random
import signal
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from tests.runners import Beside, Commits, all_completed, completions, frozen, publish, runners_beside
from tests.stack import Client, Simulator, Stack, until
from tests.test_recovery import kill

from common.contracts.runs_v1 import RunCompleted
from tests.conftest import RUNNER_SLOTS

RUNS = 3_000
SECONDS_PER_RUN = 0.04
"""A bound for a busy machine; at rest it takes a tenth of that."""


@pytest.mark.timeout(300)  # a killed member holds its partitions until its session ends
def test_killing_the_runner_loses_no_run_and_repeats_only_what_was_in_flight(
    stack: Stack, client: Client, simulator: Simulator, unique: str
) -> None:
    kills, workspace, seed = 3, workspace_of(client), random.randrange(2**32)
    simulator.when(unique, latency_ms=60)
    simulator.forget()
    ends_before = asyncio.run(completions(stack))
    asyncio.run(publish(stack, workspace, partial("{1} {0}".format, unique), range(RUNS)))
    in_flight: list[int] = []
    for after in points(seed, RUNS, kills):
        until_served(simulator, after)
        in_flight.append(killed_with(stack, simulator, ends_before, sum(in_flight)))
    asyncio.run(all_completed(stack, workspace, RUNS, RUNS * SECONDS_PER_RUN))
    repeated = simulator.calls()["total"] - RUNS
    print(f"seed {seed}: {RUNS} runs, {kills} kills with {in_flight} calls in flight, {repeated} calls repeated")
    assert repeated <= sum(in_flight)
    assert max(in_flight) <= RUNNER_SLOTS
    check_books(stack, client, RUNS)


def killed_with(stack: Stack, simulator: Simulator, ends_before: int, lost: int) -> int:
    """Kill the runner; return how many of its calls had no end in the journal, beside those lost before."""
    os.kill(stack.pid("runner"), signal.SIGSTOP)  # so that nothing changes between counting and killing
    until(lambda: simulator.calls()["in_flight"] == 0, "the provider has answered what it got")
    ended = asyncio.run(completions(stack)) - ends_before
    called = int(simulator.calls()["total"])
    kill(stack, "runner")
    return called - ended - lost


@pytest.mark.soak
def test_a_long_storm_over_three_runners(stack: Stack, client: Client, simulator: Simulator, unique: str) -> None:
    runs, kills, workspace, seed = 100_000, 50, workspace_of(client), random.randrange(2**32)
    simulator.when(unique, latency_ms=60)
    chance = random.Random(seed)
    with runners_beside(stack, 2) as beside:
        simulator.forget()
        asyncio.run(publish(stack, workspace, partial("{1} {0}".format, unique), range(runs)))
        for after in points(seed, runs, kills):
            until_served(simulator, after)
            chance.choice(victims(stack, beside))()
        asyncio.run(all_completed(stack, workspace, runs, runs * SECONDS_PER_RUN))
    repeated = simulator.calls()["total"] - runs
    print(f"seed {seed}: {runs} runs, {kills} kills of 3 runners, {repeated} calls repeated")
    assert repeated <= kills * RUNNER_SLOTS
    check_books(stack, client, runs)


def victims(stack: Stack, beside: list[Beside]) -> list[Callable[[], None]]:
    return [lambda: kill(stack, "runner"), *(runner.kill for runner in beside)]


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.timeout(1800)
def test_a_frozen_runner_starts_nothing_when_it_wakes(
    stack: Stack, client: Client, simulator: Simulator, unique: str, times: int
) -> None:
    workspace, commits = workspace_of(client), Commits(stack)
    simulator.when(unique, latency_ms=60)
    simulator.forget()
    with runners_beside(stack, 1):
        asyncio.run(freezes(stack, simulator, workspace, unique, times, commits))
    runs = times * RUNS
    executions = check_books(stack, client, runs)
    repeated = simulator.calls()["total"] - runs
    looked = asyncio.run(commits.check({c.run_id for c in executions}))
    print(f"{times} freezes, {runs} runs, {repeated} calls repeated, {looked} looks at the committed offsets")
    assert repeated <= times * RUNNER_SLOTS


async def freezes(
    stack: Stack, simulator: Simulator, workspace: UUID, unique: str, times: int, commits: Commits
) -> None:
    """Freeze the stack's runner in the middle of work, each time until the other one has ended all of it."""
    async with commits.watched():
        for done in range(0, times * RUNS, RUNS):
            served = simulator.calls()["served"]
            await publish(stack, workspace, partial("{1} {0}".format, unique), range(done, done + RUNS))
            await asyncio.to_thread(until_served, simulator, served + 200)
            with frozen(stack.pid("runner")):
                await all_completed(stack, workspace, done + RUNS, RUNS * SECONDS_PER_RUN)
            await asyncio.to_thread(until, lambda: simulator.calls()["in_flight"] == 0, "all calls have ended")


def workspace_of(client: Client) -> UUID:
    return UUID(client.call("GET", "/api/workspaces").data[0]["id"])


def points(seed: int, runs: int, kills: int) -> list[int]:
    """After how many calls to kill."""
    return sorted(random.Random(seed).sample(range(100, runs - 400), kills))


def until_served(simulator: Simulator, least: int) -> None:
    until(lambda: simulator.calls()["served"] >= least, f"{least} calls are served", 120)


def check_books(stack: Stack, client: Client, runs: int) -> list[RunCompleted]:
    """Every run once, all executions, and totals to the last digit; return the executions."""
    executions, overview = asyncio.run(counted(stack, client, runs))
    assert {c.status for c in executions} == {"succeeded"}
    assert len({c.run_id for c in executions}) == overview["totalRuns"] == runs
    assert overview["repeatedExecutions"] == len(executions) - runs
    assert overview["totalTokens"] == sum(c.usage.input + c.usage.output for c in executions)
    assert overview["totalCost"] == sum((c.cost.total or Decimal(0) for c in executions), Decimal(0))
    return executions


async def counted(stack: Stack, client: Client, runs: int) -> tuple[list[RunCompleted], Any]:
    """Return all executions and the overview of the same moment: a woken runner may still be appending its answers."""
    while True:
        before = await completions(stack)
        overview = (await asyncio.to_thread(client.counted))["overview"]
        executions = await all_completed(stack, workspace_of(client), runs, runs * SECONDS_PER_RUN)
        if await completions(stack) == before:
            return executions, overview
