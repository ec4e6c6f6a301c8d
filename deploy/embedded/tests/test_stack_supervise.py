"""The supervisor, on small stand-in processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from embedded.process import Command, NotReadyError, Service
from embedded.supervise import Supervisor

SLEEPER = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({flag!r}, 'w').close(); time.sleep(600)"
)


@dataclass
class Told:
    """Remembers what the supervisor said, in order."""

    states: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def state(self, name: str, state: str) -> None:
        self.states.append((name, state))

    def say(self, line: str) -> None:
        self.lines.append(line)


async def always() -> bool:
    return True


def service(
    name: str,
    code: str = SLEEPER,
    ready: Callable[[], Awaitable[bool]] = always,
    *,
    needs: tuple[str, ...] = (),
    start_seconds: float = 20,
    stop_seconds: float = 10,
) -> Service:
    command = Command([sys.executable, "-c", code], dict(os.environ))
    return Service(name, lambda: command, ready, needs, start_seconds, stop_seconds)


@asynccontextmanager
async def supervised(home: Path, told: Told, *services: Service) -> AsyncIterator[Supervisor]:
    (home / "logs").mkdir()
    supervisor = Supervisor(services, home / "logs", home / "processes", told)
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def pid_of(supervisor: Supervisor, name: str) -> int:
    return supervisor._running[name].pid


async def test_a_service_starts_only_when_its_needs_are_ready(tmp_path: Path) -> None:
    told, opened = Told(), asyncio.Event()

    async def engine_ready() -> bool:
        return opened.is_set()

    async with supervised(
        tmp_path, told, service("engine", ready=engine_ready), service("user", needs=("engine",))
    ) as s:
        starting = asyncio.create_task(s.start())
        await until(lambda: ("engine", "starting") in told.states)
        assert ("user", "starting") not in told.states
        opened.set()
        await starting
    assert told.states[:4] == [("engine", "starting"), ("engine", "ready"), ("user", "starting"), ("user", "ready")]


async def test_services_without_common_needs_start_side_by_side(tmp_path: Path) -> None:
    told = Told()

    async def both_started() -> bool:
        return len([s for s in told.states if s[1] == "starting"]) == 2

    async with supervised(tmp_path, told, service("a", ready=both_started), service("b", ready=both_started)) as s:
        await s.start()  # each waits for the other: one after the other would never be ready


async def test_they_stop_last_listed_first_and_none_is_left(tmp_path: Path) -> None:
    told = Told()
    async with supervised(tmp_path, told, service("a"), service("b", needs=("a",)), service("c", needs=("a",))) as s:
        await s.start()
        pids = [pid_of(s, name) for name in "abc"]
    assert [name for name, state in told.states if state.startswith("stopped")] == ["c", "b", "a"]
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_service_that_dies_is_started_again_and_that_is_said_in_one_line(tmp_path: Path) -> None:
    told = Told()
    async with supervised(tmp_path, told, service("vault")) as s:
        await s.start()
        first = pid_of(s, "vault")
        os.kill(first, signal.SIGKILL)
        await until(lambda: "vault is ready again" in told.lines)
        assert told.lines[0] == "vault was ended by SIGKILL; starting it again in 0.5 s"
        assert pid_of(s, "vault") != first


async def test_a_service_that_keeps_dying_is_started_ever_more_slowly(tmp_path: Path) -> None:
    told = Told()
    async with supervised(tmp_path, told, service("runner", "import time; time.sleep(0.2); raise SystemExit(3)")) as s:
        await s.start()
        await until(lambda: sum("ended" in line for line in told.lines) >= 3)
    endings = [line for line in told.lines if "ended" in line]
    assert [line.rpartition(" in ")[2] for line in endings[:3]] == ["0.5 s", "1.0 s", "2.0 s"]
    assert "ended with exit code 3" in endings[0]


async def test_nothing_is_started_again_while_it_stops(tmp_path: Path) -> None:
    told = Told()
    async with supervised(tmp_path, told, service("a")) as s:
        await s.start()
    assert told.lines == []


async def test_a_service_that_ends_before_it_is_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    code = "import sys; print('the master key is weak', file=sys.stderr); raise SystemExit(1)"
    async with supervised(tmp_path, Told(), service("vault", code, never)) as s:
        with pytest.raises(NotReadyError) as failure:
            await s.start()
    assert "vault ended with exit code 1 before it was ready" in str(failure.value)
    assert "the master key is weak" in str(failure.value)
    assert str(tmp_path / "logs" / "vault.log") in str(failure.value)


async def test_a_service_that_takes_too_long_is_reported_and_the_others_are_stopped(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with supervised(tmp_path, Told(), service("kafka"), service("slow", ready=never, start_seconds=0.3)) as s:
        with pytest.raises(NotReadyError, match=r"slow was not ready within 0\.3 s"):
            await s.start()
        pids = [pid_of(s, "kafka"), pid_of(s, "slow")]
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_report_quotes_the_log_of_this_start_only(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "vault.log").write_text("an old complaint\n")
    s = Supervisor([service("vault", "raise SystemExit(1)", never)], tmp_path / "logs", tmp_path / "processes", Told())
    with pytest.raises(NotReadyError) as failure:
        await s.start()
    assert "an old complaint" not in str(failure.value)


async def test_what_does_not_stop_in_time_is_killed_and_that_is_said(tmp_path: Path) -> None:
    told, flag = Told(), tmp_path / "deaf"

    async def deaf() -> bool:
        return flag.exists()

    async with supervised(
        tmp_path, told, service("runner", STUBBORN.format(flag=str(flag)), deaf, stop_seconds=0.2)
    ) as s:
        await s.start()
        pid = pid_of(s, "runner")
    assert told.lines == ["runner did not stop within 0.2 s and was killed"]
    assert not psutil.pid_exists(pid)


async def test_kill_ends_everything_at_once(tmp_path: Path) -> None:
    flag = tmp_path / "deaf"

    async def deaf() -> bool:
        return flag.exists()

    async with supervised(tmp_path, Told(), service("a", STUBBORN.format(flag=str(flag)), deaf, stop_seconds=60)) as s:
        await s.start()
        stopping, began = asyncio.create_task(s.stop()), time.monotonic()
        s.kill()
        await stopping
        assert time.monotonic() - began < 5


async def test_a_preparation_that_fails_is_reported(tmp_path: Path) -> None:
    def prepare() -> Command:
        raise OSError("no space left on device")

    async with supervised(tmp_path, Told(), Service("kafka", prepare, always)) as s:
        with pytest.raises(NotReadyError, match="kafka could not be prepared: no space left on device"):
            await s.start()
