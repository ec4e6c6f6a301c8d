"""Start processes in the order of their needs, start again those that die, stop them in reverse."""

import asyncio
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from embedded.leftovers import record_process
from embedded.process import NotReadyError, Process, Service

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
SETTLED_SECONDS = 60.0
"""A process that lived this long starts again with the first delay."""


class Observer(Protocol):
    """Is told what happens."""

    def state(self, name: str, state: str) -> None:
        """Take note of the state the service is in now."""

    def say(self, line: str) -> None:
        """Tell the user one line."""


class Supervisor:
    """Keeps services running, in the order they are listed: a service comes after its needs."""

    def __init__(self, services: Sequence[Service], logs: Path, record: Path, observer: Observer) -> None:
        self._services = services
        self._logs = logs
        self._record = record
        self._observer = observer
        self._ready = {service.name: asyncio.Event() for service in services}
        self._running: dict[str, Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Return when everything is ready, or raise `NotReadyError`."""
        try:
            async with asyncio.TaskGroup() as group:
                for service in self._services:
                    group.create_task(self._start_in_turn(service))
        except ExceptionGroup as failures:  # not `except*`: before Python 3.11.4 that wraps what is raised in it
            if failures.split(NotReadyError)[1] is not None:
                raise
            raise NotReadyError("\n".join(str(failure) for failure in failures.exceptions)) from None

    async def stop(self) -> None:
        """Stop everything, each within its time: the last listed first, but what needs nothing at the end, together."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for service in reversed(self._services):
            if service.needs:
                await self._stop(service)
        await asyncio.gather(*(self._stop(service) for service in self._services if not service.needs))

    def kill(self) -> None:
        """End everything at once."""
        for process in self._running.values():
            process.kill()

    async def _start_in_turn(self, service: Service) -> None:
        for need in service.needs:
            await self._ready[need].wait()
        await self._start(service)
        self._ready[service.name].set()
        self._keepers.append(asyncio.create_task(self._keep(service)))

    async def _start(self, service: Service) -> None:
        self._observer.state(service.name, "starting")
        process = await Process.start(service, self._logs / f"{service.name}.log")
        self._running[service.name] = process
        record_process(self._record, service.name, process.pid)
        await process.until_ready()
        self._observer.state(service.name, "ready")

    async def _keep(self, service: Service) -> None:
        delays = _delays()
        while True:
            process = self._running[service.name]
            code = await process.wait()
            delays = _delays() if process.seconds > SETTLED_SECONDS else delays
            await self._start_again(service, _ending(code), next(delays))

    async def _start_again(self, service: Service, ending: str, delay: float) -> None:
        self._observer.say(f"{service.name} {ending}; starting it again in {delay:.1f} s")
        await asyncio.sleep(delay)
        try:
            await self._start(service)
        except NotReadyError as error:
            self._observer.say(str(error))
            self._running[service.name].kill()
        else:
            self._observer.say(f"{service.name} is ready again")

    async def _stop(self, service: Service) -> None:
        began = time.monotonic()
        if (process := self._running.get(service.name)) is None:
            return
        if not await process.stop():
            self._observer.say(f"{service.name} did not stop within {service.stop_seconds:g} s and was killed")
        self._observer.state(service.name, f"stopped in {time.monotonic() - began:.1f} s")


def _delays() -> Iterator[float]:
    delay = FIRST_DELAY_SECONDS
    while True:
        yield delay
        delay = min(2 * delay, LONGEST_DELAY_SECONDS)


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
