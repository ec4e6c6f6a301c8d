"""Runs that ended, priced again: `POST /api/analytics/reprice`."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from common.contracts.answers_v1 import Answer, Money, Period
from common.contracts.runs_v1 import Millis

Percent = Annotated[Decimal, Field(ge=0, le=100, decimal_places=6)]


class RepriceAsked(BaseModel):
    """Which runs are priced again, and how. Days are calendar days of `tz`, both ends included.

    `catalogue`: `installed` takes the prices that are installed now, at the time of each run; `recorded` those that the
    runner took, so that without discounts everything becomes what it was. `discounts`: percent off, by the model that
    was asked for, as `model` or `provider/model`. Without `apply` nothing changes. `cursor`: of the page before.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=AliasGenerator(alias=to_camel)
    )

    period: Period = "30d"
    from_: date | None = Field(None, alias="from")
    to: date | None = None
    tz: str = Field("UTC", max_length=64)
    catalogue: Literal["installed", "recorded"] = "installed"
    discounts: dict[Annotated[str, Field(min_length=1, max_length=256)], Percent] = Field({}, max_length=1000)
    reason: str = Field("", max_length=200)
    apply: bool = False
    cursor: Millis | None = None


class RepriceGroup(Answer):
    """What becomes of one model's runs: `executions` were looked at, `changed` of them cost something else.

    `kept` cannot be priced by that catalogue and keep what was recorded. `newly_priced` had no price before.
    """

    provider: str
    model: str
    executions: int
    changed: int
    kept: int
    newly_priced: int
    was: Money
    becomes: Money


class RepricePage(Answer):
    """A part of a repricing, up to `share` (0 to 1) of the period; `next_cursor` None is the end."""

    start: str
    end: str
    time_zone: str
    catalogue: str
    applied: bool
    groups: list[RepriceGroup]
    share: float
    next_cursor: int | None
