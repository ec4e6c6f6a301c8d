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
    pictured = [_pictured(name, sections[name]) for name in sorted(sections)]
    RESULTS.write_text(f"\n{SECTION}".join([_head(), *pictured]) + "\n")


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


def _pictured(part: str, section: str) -> str:
    """Show the picture that the part drew, if it draws one, under its figures."""
    picture = RESULTS.with_name(f"{part}.svg")
    shown = f"\n\n![{part}]({picture.name})"
    return section if shown in section or not picture.exists() else section + shown
