"""When nothing of what is read makes sense any more, the fault is ours, and reading on would set the backlog aside."""

from uuid import UUID

from runner.metrics import HALTED

FAILURES, WORKSPACES = 50, 3
"""Records in a row that are no runs though they carry valid grants, and from how many workspaces: one tenant's
publisher can be broken, three at the same time are not."""


class Halted(Exception):
    """This runner reads no more. The committed offsets stay before what was not judged."""


class Halt:
    """Counts failures in a row. Once it has halted it stays so: a new release has to look at the records."""

    def __init__(self) -> None:
        self._row: list[UUID] = []
        self.halted = False

    def passed(self) -> None:
        """A record was a run."""
        self._row.clear()

    def failed(self, workspace: UUID) -> None:
        """Count a record that is no run, with a valid grant for this workspace; raise `Halted` if it is one too many.

        The record that raises has not been set aside.
        """
        self.check()
        self._row = [*self._row[1 - FAILURES :], workspace]
        if len(self._row) == FAILURES and len(set(self._row)) >= WORKSPACES:
            self.halted = True
            HALTED.set(1)
            self.check()

    def check(self) -> None:
        """Raise `Halted` once that has happened."""
        if self.halted:
            raise Halted(
                f"{FAILURES} records in a row, from {WORKSPACES} or more workspaces, could not be read as runs"
            )
