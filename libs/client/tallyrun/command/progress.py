"""How far it has come, on standard error: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn

from tallyrun.batches import BatchStatus, Quote
from tallyrun.command import wording
from tallyrun.command.session import Session

LINE_SECONDS = 15.0


class Bar:
    """A bar while the block runs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._terminal = session.console.is_terminal and not session.quiet
        columns = (BarColumn(24), TextColumn("{task.description}", markup=False))
        self._progress = Progress(*columns, console=session.console, disable=not self._terminal, transient=True)
        self._task = self._progress.add_task("", total=None)
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def aside(self, ask: Callable[[Quote], bool]) -> Callable[[Quote], bool]:
        """Return the question as asked without a bar in the way."""

        def asked(quote: Quote) -> bool:
            self._progress.stop()
            answer = ask(quote)
            self._progress.start()
            return answer

        return asked

    def show(self, status: BatchStatus) -> None:
        """Show how a batch stands."""
        self._tell(wording.progress(status), status.done, status.rows)

    def sent(self, done: int, total: int) -> None:
        """Show how much of a file is sent."""
        self._tell(f"{done * 100 // max(1, total):3}% sent of {total / 1e6:,.1f} MB", done, total)

    def written(self, size: int) -> None:
        """Show how much of a file is written."""
        self._tell(f"{size / 1e6:,.1f} MB written", 0, 0)

    def repriced(self, share: float, *, apply: bool) -> None:
        """Show how much of a period is priced again, or compared."""
        percent = round(100 * share)
        self._tell(f"{percent:3}% {'priced' if apply else 'compared'}", percent, 100)

    def _tell(self, text: str, done: int, total: int) -> None:
        self._progress.update(self._task, description=text, completed=done, total=total or None)
        if not self._terminal and time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self._session.note(text.strip())
