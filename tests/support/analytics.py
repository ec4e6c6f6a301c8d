"""Processes of analytics that stop dead, or stand still, exactly before a step of their loops."""

import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from analytics import consumer, outcomes
from analytics.__main__ import main
from analytics.clickhouse import ClickHouse
from analytics.database import Table
from common.engines.ports import free_port

STEPS = (
    *("collected", "runs", "texts", "batch_runs", "accepted", "dirty_hours", "set aside", "commit", "committed"),
    *("marks read", "seal_hours", "seal_days", "seal_prompts", "clear", "cleared"),
)
"""Of the consumer's loop and of the sealer's: reached just before each is done, or just after in the past tense."""

OUTCOME_STEPS = ("outcome", "outcome stored", "outcome marked")
"""Of recording an outcome, whose hour is announced before."""

ANY = "any"
STOP_SECONDS = 20


@dataclass
class Halt:
    """Sends this process a signal before it reaches a step (or any) for the `nth` time."""

    step: str
    nth: int = 1
    number: signal.Signals = signal.SIGKILL

    def reach(self, step: str) -> None:
        """Note that a step comes next."""
        if self.step in (step, ANY):
            self.nth -= 1
            if self.nth == 0:
                os.kill(os.getpid(), self.number)


class Replicas:
    """Starts and stops processes of analytics with the same settings."""

    def __init__(self, environment: dict[str, str]) -> None:
        # A fork of a process that has imported everything is up in a third of the time.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.support.analytics", "pytest"])
        self._environment = environment
        self._started: list[BaseProcess] = []

    def start(self, halt: Halt | None = None, **settings: object) -> BaseProcess:
        """Start another one; `settings` are added to the environment."""
        added = {name.upper(): str(value) for name, value in settings.items()}
        environment = {**self._environment, "ANALYTICS_PORT": str(free_port()), **added}
        process = self._context.Process(target=serve, args=(environment, halt))
        process.start()
        self._started.append(process)
        return process

    def stop(self) -> None:
        """Kill those that still run."""
        for process in self._started:
            process.kill()
            process.join()


def serve(environment: dict[str, str], halt: Halt | None) -> None:
    """Be analytics, in this process."""
    os.environ.update(environment)
    if halt is not None:
        _watch(halt)
    main()


def _watch(halt: Halt) -> None:
    """Tell of every step."""

    def watched(owner: Any, name: str, before: Callable[..., str | None], after: Callable[..., str | None]) -> None:
        inner: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def outer(*arguments: Any, **parameters: Any) -> Any:
            if step := before(*arguments):
                halt.reach(step)
            result = await inner(*arguments, **parameters)
            if step := after(result, *arguments):
                halt.reach(step)
            return result

        setattr(owner, name, outer)

    def never(*_: object) -> None:
        return None

    watched(consumer, "_collect", never, lambda records, *_: "collected" if records else None)
    watched(consumer, "_commit", lambda *_: "commit", lambda *_: "committed")
    watched(consumer.Consumer, "_set_aside", lambda *_: "set aside", never)
    watched(outcomes.Outcomes, "_store", lambda *_: "outcome", lambda *_: "outcome stored")
    watched(outcomes.Outcomes, "_mark", never, lambda *_: "outcome marked")
    watched(ClickHouse, "insert", _insert, lambda _, *arguments: "cleared" if _insert(*arguments) == "clear" else None)
    watched(ClickHouse, "execute", lambda _, query: query, never)
    watched(ClickHouse, "rows", never, lambda rows, _, query: "marks read" if query == "dirty_hours" and rows else None)


def _insert(_: ClickHouse, table: Table, lines: Sequence[bytes]) -> str:
    return "clear" if b'"sign":-1' in lines[0] else table.name
