"""What became of a run's answer, as those who used it say: `POST /api/runs/{id}/outcome`."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from common.contracts.answers_v1 import Answer, Outcome, Score

NOTE_CHARACTERS = 2000
SMALLEST = Decimal("1e-18")
"""The database keeps 18 decimal places of a score; what is finer is rounded, half to even."""


def _number(value: object) -> object:
    """Read a number as it was written: 0.1 is a tenth."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("it must be a number from 0 to 1")  # noqa: TRY004 - this is how Pydantic is told
    return Decimal(str(value))


class OutcomeGiven(BaseModel):
    """What is said of a run, in place of everything that was said of it before: at least one of the three."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    success: StrictBool | None = None
    score: Annotated[Score, BeforeValidator(_number), Field(ge=0, le=1)] | None = None
    note: str | None = Field(None, max_length=NOTE_CHARACTERS)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.success is None and self.score is None and not self.note:
            raise ValueError("give at least one of success, score and note")
        return self


class Rated(Answer):
    """What was said of runs, see `Outcome`: `rated` of them with a success or a score.

    `good_outcomes` and `bad_outcomes` were said to be successes, and not to be; `outcome_rate` is the percentage of
    good ones among both. `score` is the mean of the scores that were given. Where there are none, both are None.
    """

    rated: int
    good_outcomes: int
    bad_outcomes: int
    outcome_rate: float | None
    score: Score | None


class RecordedOutcome(Outcome):
    """The same with the run's id: what is answered to who said it."""

    run_id: str
