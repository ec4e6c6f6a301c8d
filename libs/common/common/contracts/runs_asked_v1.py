"""Which runs are listed: `GET /api/runs`."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from common.contracts.answers_v1 import Period
from common.contracts.usage_v1 import Values

RunStatus = Literal["accepted", "succeeded", "failed", "cancelled", "expired"]
LARGEST_PAGE = 200


class RunsAsked(BaseModel):
    """A page of runs, the newest first, as query parameters; those that are lists may be repeated.

    Days are calendar days of `tz` (IANA), both ends included; without `period` or `from` all are listed. Filters mean
    what they mean to `UsageAsked`, and keep the very runs that its figures count: a run is what its first execution
    was. `unpriced` keeps runs with an execution whose cost is unknown, `repeated` those that were carried out again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: int = Field(50, ge=1, le=LARGEST_PAGE)
    cursor: str | None = Field(None, max_length=512)
    period: Period | None = None
    from_: date | None = Field(None, alias="from")
    to: date | None = None
    tz: str = Field("UTC", max_length=64)
    model: Values = []
    provider: Values = []
    key: Values = []
    prompt: Values = []
    user: Values = []
    batch: Values = []
    status: Annotated[list[RunStatus], Field(max_length=100)] = []
    tier: Values = []
    error: Values = []
    label: Values = []
    unpriced: bool = False
    repeated: bool = False
