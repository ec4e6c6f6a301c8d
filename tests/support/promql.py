"""PromQL, as far as a test must read it: which metrics an expression uses, and whether their labels are theirs.

No parser: names are looked at one by one, and every one must be known as something.
"""

import re
from collections.abc import Iterator, Mapping

from tests.support.metrics import Metric

FUNCTIONS = {
    *("absent", "avg", "avg_over_time", "count", "histogram_quantile", "increase", "max", "min", "rate", "sum"),
    *("time", "topk"),
}
WORDS = {"and", "by", "group_left", "on", "or", "unless", "without"}

FROM_SCRAPING = {"instance", "job", "le"}
"""Labels that no metric declares: of the target, and of a histogram's buckets."""

OF_THE_CLIENT = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
"""What prometheus_client tells of every process."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_WINDOW = re.compile(r"\[(?:\d+[smhd]|\$__rate_interval)\]")
_NUMBER = re.compile(r"(?<![\w:])\d+(?:\.\d+)?")
_NAME = re.compile(r"[A-Za-z_]\w*")
_SELECTED = re.compile(r"(\w+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|on|group_left|without)\s*\(([^)]*)\)")


def faults(expression: str, metrics: Mapping[str, Metric]) -> list[str]:
    """Return what is wrong with the names of an expression: nothing, one hopes."""
    text = _NUMBER.sub(" ", _WINDOW.sub(" ", _QUOTED.sub('""', expression)))
    series = {name: metric for metric in metrics.values() for name in metric.series}
    used = {name for name in _NAME.findall(text) if name in series}
    labels = {label for name in used for label in series[name].labels} | FROM_SCRAPING
    unknown = set(_NAME.findall(text)) - series.keys() - OF_THE_CLIENT - FUNCTIONS - WORDS - labels
    return [*(f"{name} is unknown" for name in sorted(unknown)), *_foreign(text, series), *_unbalanced(text)]


def _foreign(text: str, series: Mapping[str, Metric]) -> Iterator[str]:
    """Yield labels that are asked of a metric which has no such label, alone or in a group of one metric."""
    for name, selection in _SELECTED.findall(text):
        own = {*(series[name].labels if name in series else ()), *FROM_SCRAPING}
        yield from (f"{name} has no label {label}" for label in _NAME.findall(selection) if label not in own)
    labels = {label for name in _NAME.findall(text) if name in series for label in series[name].labels}
    for grouped in _GROUPED.findall(text):
        yield from (f"no label {label}" for label in _NAME.findall(grouped) if label not in labels | FROM_SCRAPING)


def _unbalanced(text: str) -> Iterator[str]:
    for opening, closing in ("()", "{}", "[]"):
        if text.count(opening) != text.count(closing):
            yield f"{opening} and {closing} are not in pairs"
