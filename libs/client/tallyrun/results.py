"""The end of one row."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import Field

from tallyrun.wire import Told, parsed


class Result(Told):
    """How a row ended. `status` is succeeded, failed, expired or cancelled; `cost` in US dollars, None is unpriced.

    `response` is the provider's answer as it came, `latency` in ms, `usage` tokens by kind; `line` is the row's place
    in the batch file, and `input` the request where it was asked for. `raw` is the line of JSON that said all this.
    """

    custom_id: str
    run_id: str | None = None
    status: str
    output: str | None = None
    response: Any = None
    error_code: str | None = None
    error: str | None = None
    model: str | None = None
    usage: Mapping[str, int] | None = None
    cost: Decimal | None = None
    priced: bool = False
    latency: float | None = None
    line: int | None = None
    input: Any = None
    raw: str = Field("", exclude=True, repr=False)

    @property
    def ok(self) -> bool:
        """Whether there is an output."""
        return self.status == "succeeded"

    @property
    def text(self) -> str:
        """The output, or nothing."""
        return self.output or ""


def read(line: str) -> Result:
    """Read one line of a batch's results."""
    return Result.model_validate({**parsed(line), "raw": line})
