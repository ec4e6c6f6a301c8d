"""Runs that are priced again, as the gateway tells of them; and which runs are meant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from tallyrun.usage import Period
from tallyrun.wire import Told

Kind = Literal["csv", "parquet", "focus"]
"""What runs are exported as."""


@dataclass(frozen=True)
class Days:
    """Days of a time zone: `period`, so many that end today, or those from `start` to `end`, both included."""

    period: Period | str | None = "30d"
    start: date | None = None
    end: date | None = None
    tz: str = "UTC"

    def asked(self) -> dict[str, Any]:
        """Return the fields that are given, by their names on the wire."""
        period = None if self.start else self.period
        asked = {"period": period, "from": self.start, "to": self.end, "tz": self.tz}
        return {name: str(value) for name, value in asked.items() if value is not None}


THIRTY_DAYS = Days()


@dataclass(frozen=True)
class Reprice:
    """How the runs of some days are priced again: by the `installed` catalogue, or as the runner `recorded` it.

    `discounts`: percent off, by `model` or `provider/model`, as it was asked for.
    """

    days: Days = THIRTY_DAYS
    catalogue: str = "installed"
    discounts: Mapping[str, Decimal] = field(default_factory=dict)
    reason: str = ""

    def asked(self) -> dict[str, Any]:
        """Return the fields by their names on the wire."""
        discounts = {model: str(percent) for model, percent in self.discounts.items()}
        return {**self.days.asked(), "catalogue": self.catalogue, "discounts": discounts, "reason": self.reason}


class RepricedModel(Told):
    """What becomes of one model's runs: of so many executions, `changed` ones cost something else now.

    `kept` could not be priced and cost what they did; `newly_priced` had no price before.
    """

    provider: str
    model: str
    executions: int
    changed: int
    kept: int
    newly_priced: int
    was: Decimal
    becomes: Decimal

    @property
    def difference(self) -> Decimal:
        """US dollars, negative where it is cheaper now."""
        return self.becomes - self.was


class RepricePage(Told):
    """A part of a repricing, up to `share` (0 to 1) of the days; `next_cursor` None is the end."""

    start: str
    end: str
    time_zone: str
    catalogue: str
    applied: bool
    groups: list[RepricedModel]
    share: float
    next_cursor: int | None
