"""What was measured, as a page to keep: a section for each part, with the time and the commit of its last run."""

import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
SECTION = "\n## "


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
        ratio = "" if not self.comparison else f"{self.ours / self.comparison:.2f}"
        comparison = "" if self.comparison is None else f"{self.comparison:,.2f} ({self.compared_with})"
        return [self.what, f"{self.ours:,.2f}", comparison, ratio, self.goal]


def keep(part: str, rows: Iterable[Row]) -> None:
    """Replace the part's section of the page, and leave the others as their runs left them."""
    _, *kept = RESULTS.read_text().split(SECTION)
    sections = {section.partition("\n")[0]: section.rstrip() for section in kept}
    sections[part] = _section(part, rows)
    RESULTS.write_text(f"\n{SECTION}".join([_head(), *(sections[name] for name in sorted(sections))]) + "\n")


def _head() -> str:
    machine = f"{os.cpu_count()} cores {platform.machine()}, Python {platform.python_version()}"
    return f"# Results\n\n{machine}. The load runs on the same cores."


def _section(part: str, rows: Iterable[Row]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    lines = [
        part,
        "",
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit.strip()}.",
        "",
        "| what | ours | comparison | ratio | goal |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(row.cells())} |" for row in rows),
    ]
    return "\n".join(lines)
