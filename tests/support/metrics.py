"""Metrics three ways: as the code declares them, as the operator's page lists them, and as a service answers them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operate" / "observe.md"
KINDS = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram", "Summary": "summary"}
_ROW = re.compile(r"^\| `(tallyrun_\w+)` \| (counter|gauge|histogram) \| ([^|]*) \| [^|]+ \|$")


class Metric(NamedTuple):
    """A metric as it is asked for: a counter's name ends with _total."""

    name: str
    kind: str
    labels: tuple[str, ...]

    @property
    def series(self) -> list[str]:
        """The names of its series."""
        if self.kind == "histogram":
            return [f"{self.name}_{part}" for part in ("bucket", "count", "sum")]
        return [self.name]


def declared() -> dict[str, tuple[Metric, Path]]:
    """Return every metric that the code declares, and where."""
    sources = [path for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    own = [path for path in sources if "tests" not in path.parts]
    return {metric.name: (metric, path) for path in own for metric in _declared_in(path)}


def _declared_in(path: Path) -> Iterator[Metric]:
    source = path.read_text()
    if "prometheus_client" not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
            name, _, *rest = (ast.literal_eval(argument) for argument in node.args)
            kind = KINDS[node.func.id]
            yield Metric(f"{name}_total" if kind == "counter" else name, kind, tuple(rest[0]) if rest else ())


def documented() -> dict[str, Metric]:
    """Return every metric that the operator's page lists."""
    rows = [row.groups() for line in PAGE.read_text().splitlines() if (row := _ROW.match(line))]
    return {name: Metric(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""By a series' name and its sorted labels."""


def samples(text: str) -> Samples:
    """Return what an answer of `/metrics` says."""
    families = text_string_to_metric_families(text)
    found = [sample for family in families for sample in family.samples]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}
