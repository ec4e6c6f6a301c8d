"""How a batch is run: row by row now, or through the providers' own batches, at their discount and within a day."""

from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from common.catalogue import rate
from common.contracts.runs_v1 import Operation
from common.contracts.topics import DAY_MS
from common.providers import ProviderSpec
from gateway.batches.batch import LineError, Mode, RunsAs
from gateway.batches.rows import Request

FEWEST_ROWS = 100
"""With fewer, `auto` runs a batch at once: what it saves is less than the wait is worth."""

MOST_KINDS = 20
"""Of rows that go to a provider apart, since each of its batches is of one model."""


class Kind(NamedTuple):
    """What one provider's batch consists of."""

    spec: ProviderSpec
    model: str
    operation: Operation


class Kinds:
    """Which kind each row is of, in two bytes a row."""

    def __init__(self) -> None:
        self.all: list[Kind] = []
        self._numbers: dict[tuple[str, str, str], int] = {}
        self._of = array("H")

    def add(self, row: Request) -> None:
        """Take in the next row."""
        name = row.spec.name, row.model, row.operation
        if (number := self._numbers.get(name)) is None:
            number = self._numbers[name] = len(self.all)
            self.all.append(Kind(row.spec, row.model, row.operation))
        self._of.append(number)

    def of(self, row: int) -> Kind:
        """Return the row's kind."""
        return self.all[self._of[row]]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._of)


class Chosen(NamedTuple):
    """How a batch is run, and why not otherwise."""

    runs_as: RunsAs
    why: str | None = None


def chosen(mode: Mode, kinds: Kinds, lifetime_ms: int) -> Chosen:
    """Return how a batch is run that has so long to its deadline. What was asked for is done, or `why` says why not."""
    if mode == "online":
        return Chosen("online")
    obstacle = _obstacle(kinds.all) or (_not_worth(kinds, lifetime_ms) if mode == "auto" else None)
    return Chosen("provider") if obstacle is None else Chosen("online", obstacle)


def refused(mode: Mode, how: Chosen) -> LineError | None:
    """Return why a batch that must go to providers is not taken; in mode `auto` its rows are run at once instead."""
    if mode != "provider" or how.why is None:
        return None
    return LineError(None, "unsupported", f"{how.why}: run them in mode 'online'", "mode")


def _obstacle(kinds: Sequence[Kind]) -> str | None:
    if without := sorted({kind.spec.name for kind in kinds if not kind.spec.batches}):
        return f"no batches are known of at {', '.join(without)}"
    return f"its rows are of more than {MOST_KINDS} models" if len(kinds) > MOST_KINDS else None


def _not_worth(kinds: Kinds, lifetime_ms: int) -> str | None:
    if lifetime_ms < DAY_MS:
        return "its deadline is less than 24 hours away"
    if kinds.rows < FEWEST_ROWS:
        return f"it has fewer than {FEWEST_ROWS} rows"
    dear = sorted({kind.model for kind in kinds.all if not _discounted(kind)})
    return f"the catalogue has no batch price of {', '.join(dear[:3])}" if dear else None


def _discounted(kind: Kind) -> bool:
    catalogue = kind.spec.catalogue
    return catalogue is not None and rate(catalogue, kind.model, datetime.now(UTC), batch=True) is not None
