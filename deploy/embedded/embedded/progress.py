"""What the user sees while the stack starts: a live table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

NOTES = {
    "kafka": "Apache Kafka, the queue of runs",
    "postgres": "PostgreSQL, keys and workspaces",
    "simulator": "simulated OpenAI and Anthropic",
    "vault": "provider keys, sealed",
    "analytics": "runs and money, ClickHouse inside",
    "runner": "calls the providers",
    "gateway": "the HTTP API",
}
STYLES = {"ready": "green", "starting": "yellow"}


class Progress:
    """The state of each process, and since when. Used as a context, it shows a live table until it is left."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._began = time.monotonic()
        self._states = dict.fromkeys(names, ("waiting", 0.0))
        self._live = Live(self, console=console, refresh_per_second=8)
        self._showing = False

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
            self._showing = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        self._showing = False

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def state(self, name: str, state: str) -> None:
        """Note the service's new state; where no table shows it, say it."""
        self._states[name] = (state, self.seconds)
        if not self._showing:
            self.say(f"{name} {state}")

    def say(self, line: str) -> None:
        """Print one line, above the table if there is one."""
        self._console.print(f"{self.seconds:6.1f} s  {line}", highlight=False, markup=False, soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table."""
        table = Table.grid(padding=(0, 2))
        for name, (state, since) in self._states.items():
            seconds = since if state == "ready" else self.seconds
            table.add_row(
                Text(name, "bold"),
                Text(state, STYLES.get(state, "dim")),
                f"{seconds:.1f} s",
                Text(NOTES.get(name, ""), "dim"),
            )
        yield table
