"""Bring the stack up, do a job with it, keep it up until told to stop, take it down."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console

from common.engines.ports import LOOPBACK
from embedded.home import Home
from embedded.leftovers import end_leftovers
from embedded.ports import Ports
from embedded.process import NotReadyError
from embedded.progress import Progress
from embedded.stack import services
from embedded.supervise import Supervisor

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Stack:
    """A stack to bring up. `environment` is the operator's; `simulated` adds the simulated provider."""

    home: Home
    gateway_port: int
    environment: Mapping[str, str]
    simulated: bool

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        return f"http://{LOOPBACK}:{self.gateway_port}"


async def run(stack: Stack, console: Console, job: Callable[[], Awaitable[int]], *, stay: bool) -> int:
    """Run the stack until the job is done, or with `stay` until a signal comes; return the exit code.

    Raises `AlreadyRunningError` or `PortError` before anything was started.
    """
    with stack.home.lock(stack.url):
        stack.home.prepare()
        if ended := end_leftovers(stack.home.processes):
            console.print(f"Ended {ended} processes that a killed stack had left.")
        plan = services(stack.home, Ports.choose(stack.gateway_port), stack.environment, simulated=stack.simulated)
        progress = Progress(console, [service.name for service in plan])
        supervisor = Supervisor(plan, stack.home.logs, stack.home.processes, progress)
        with _signals_stop(supervisor):
            return await _run(supervisor, progress, job, stay=stay)


async def _run(supervisor: Supervisor, progress: Progress, job: Callable[[], Awaitable[int]], *, stay: bool) -> int:
    try:
        with progress:
            await supervisor.start()
        progress.say("everything is ready")
        code = await job()
        if stay:
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        progress.say("stopping")
        return 0
    except NotReadyError as failure:
        progress.say(str(failure))
        return 1
    else:
        return code
    finally:
        await supervisor.stop()


@contextmanager
def _signals_stop(supervisor: Supervisor) -> Iterator[None]:
    """The first signal cancels the current task, which then stops everything in order; a second one ends it at once."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None, "called from a coroutine"

    def received() -> None:
        if task.cancelling():
            supervisor.kill()
        else:
            task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
