"""One process of the stack: start it, ask whether it is ready, stop it."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

POLL_SECONDS = 0.05
TAIL_LINES = 12
TAIL_BYTES = 16_384


@dataclass(frozen=True)
class Command:
    """What to execute, with which environment, as which user (None: ours)."""

    arguments: list[str]
    environment: dict[str, str]
    user: str | None = None


@dataclass(frozen=True)
class Service:
    """A process that the stack keeps running.

    `prepare` may block (it runs in a thread) and comes before each start; `ready` answers whether the process does
    its work. It starts when all of `needs` are ready. Times are in seconds.
    """

    name: str
    prepare: Callable[[], Command]
    ready: Callable[[], Awaitable[bool]]
    needs: tuple[str, ...] = ()
    start_seconds: float = 60
    stop_seconds: float = 2
    stop_signal: signal.Signals = signal.SIGTERM


class NotReadyError(Exception):
    """A process ended, or took too long, before it was ready. The message has its log's last lines and path."""


class Process:
    """A service's command while it runs. Its output is appended to the log."""

    def __init__(self, service: Service, process: asyncio.subprocess.Process, log: Path, log_start: int) -> None:
        self._service = service
        self._process = process
        self._log = log
        self._log_start = log_start
        self.started_at = time.monotonic()

    @classmethod
    async def start(cls, service: Service, log: Path) -> Self:
        """Execute the service's command, in a session of its own: Ctrl-C reaches the stack alone."""
        command = await _prepared(service)
        with log.open("ab") as output:
            log_start = output.tell()
            process = await asyncio.create_subprocess_exec(
                *command.arguments,
                env=command.environment,
                user=command.user,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            return cls(service, process, log, log_start)

    @property
    def pid(self) -> int:
        """The process id, and that of its group."""
        return self._process.pid

    @property
    def seconds(self) -> float:
        """How long ago it was started."""
        return time.monotonic() - self.started_at

    async def wait(self) -> int:
        """Return the exit code; a negative one is the signal that ended the process."""
        return await self._process.wait()

    async def until_ready(self) -> None:
        """Return when the service is ready, or raise `NotReadyError`."""
        while not await self._service.ready():
            if self._process.returncode is not None:
                raise NotReadyError(
                    self._explain(f"ended with exit code {self._process.returncode} before it was ready")
                )
            if self.seconds > self._service.start_seconds:
                raise NotReadyError(self._explain(f"was not ready within {self._service.start_seconds:g} s"))
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> bool:
        """Ask the process to end and wait; return whether it did within its time, else it was killed."""
        self._send(self._service.stop_signal)
        try:
            await asyncio.wait_for(self.wait(), self._service.stop_seconds)
        except TimeoutError:
            self.kill()
            await self.wait()
            return False
        return True

    def kill(self) -> None:
        """End the process and its group at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and asyncio has not heard of it yet
                os.killpg(self.pid, number)

    def _explain(self, what: str) -> str:
        with self._log.open("rb") as log:
            log.seek(max(self._log_start, self._log.stat().st_size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        quoted = [f"  {line}" for line in lines]
        return "\n".join([f"{self._service.name} {what}. Its log ends with:", *quoted, f"The whole log: {self._log}"])


async def _prepared(service: Service) -> Command:
    try:
        return await asyncio.to_thread(service.prepare)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotReadyError(f"{service.name} could not be prepared: {error}") from error
