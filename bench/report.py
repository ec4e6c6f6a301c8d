"""What was measured, as a table to print and a page to keep."""

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


@dataclass(frozen=True)
class Row:
    """One figure, what it is held against, and the goal."""

    what: str
    ours: float
    comparison: float | None
    compared_with: str
    goal: str

    def cells(self) -> list[str]:
        """Return the row as text."""
        ratio = "" if self.comparison is None else f"{self.ours / self.comparison:.2f}"
        comparison = "" if self.comparison is None else f"{self.comparison:,.2f} ({self.compared_with})"
        return [self.what, f"{self.ours:,.2f}", comparison, ratio, self.goal]


def page(rows: list[Row]) -> str:
    """Return the results with machine, date and commit."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    lines = [
        "# Results",
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit.strip()}.",
        f"{os.cpu_count()} cores {platform.machine()}.",
        f"Python {platform.python_version()}. The load runs on the same cores.",
        "",
        "| what | ours | comparison | ratio | goal |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row.cells())} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"
