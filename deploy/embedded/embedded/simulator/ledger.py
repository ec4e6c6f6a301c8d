"""What the simulator received and what it answered: the proof of what a real provider would have charged."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from common.ids import now_ms
from embedded.simulator.prompt import Call, digest

USAGE = ("input", "cached", "cache_writes", "output", "reasoning")


class Ledger:
    """Counts. Prompts are kept as digests, so that a million calls take about 100 MB and no prompt is readable."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.clear()

    def clear(self) -> None:
        """Count from zero again; the calls under way stay under way."""
        self.peak = self.in_flight
        self.last_body = b""
        self._paths: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._models: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self._last_called: dict[str, int] = {}
        self._served: Counter[int] = Counter()
        self._failed: Counter[int] = Counter()
        self._usage: dict[str, Counter[str]] = {}

    def placed(self, call: Call) -> Call:
        """Say how often the call's prompt came before."""
        counts = self._prompt(int(call.digest, 16))
        return replace(call, nth=counts["served"] + counts["failed"])

    def received(self, call: Call, status: int) -> None:
        """Count a call when its fate is decided; status 0 is none, since it hangs or is cut."""
        self._paths[call.path] += 1
        if call.path == "models":
            return
        self._statuses[status] += 1
        self._models[call.model] += 1
        self._keys[digest(call.key)] += 1
        self._last_called[digest(call.key)] = now_ms()
        (self._served if status == 200 else self._failed)[int(call.digest, 16)] += 1

    def charged(self, model: str, usage: Mapping[str, int]) -> None:
        """Add up what an answer reported."""
        self._usage.setdefault(model, Counter()).update(usage)

    def report(self, prompt: str | None = None, all_prompts: bool = False) -> dict[str, Any]:
        """Return the counts; with those of one prompt's text, or of every prompt, on request."""
        report: dict[str, Any] = {
            "total": sum(self._statuses.values()),
            "served": self._served.total(),
            "checks": self._paths["models"],
            "in_flight": self.in_flight,
            "peak": self.peak,
            "paths": dict(self._paths),
            "statuses": {str(status): count for status, count in self._statuses.items()},
            "models": dict(self._models),
            "keys": dict(self._keys),
            "last_called": self._last_called,
            "usage": {model: {name: used[name] for name in USAGE} for model, used in self._usage.items()},
            "prompts": len(self._served),
            "repeated": {f"{key:016x}": count for key, count in self._served.items() if count > 1},
        }
        if prompt is not None:
            report["prompt"] = self._prompt(int(digest(prompt), 16))
        if all_prompts:
            everyone = self._served.keys() | self._failed.keys()
            report["by_prompt"] = {f"{key:016x}": self._prompt(key) for key in everyone}
        return report

    def _prompt(self, key: int) -> dict[str, int]:
        return {"served": self._served[key], "failed": self._failed[key]}
