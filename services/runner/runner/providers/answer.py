"""What a call to a provider takes and brings back, whatever the wire format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from common.contracts.runs_v1 import PriceContext, Usage

LONGEST_WAIT_SECONDS = 31 * 86_400.0
"""What a provider may ask for at most: its limits are by the month, or shorter. Farther off are times that no event can
name, and a run that should end with one would never end."""


class Hearing(Protocol):
    """Takes a stream: first what the provider says of its limits, then each event, the provider's JSON, verbatim."""

    limits: Mapping[str, str]

    def heard(self, event: str) -> None:
        """Take the next event."""


@dataclass(frozen=True)
class Answer:
    """What one call brought back.

    `response` is the provider's body, verbatim; of a stream, what its events add up to. `usage` is None where the
    provider reported none: such a run is unpriced, not free. `wait_seconds`: how long the provider's own limits forbid
    another call like this one; `limits`: what it said of them.
    """

    response: str
    output: str | None
    finish_reason: str | None
    served_model: str | None
    service_tier: str | None
    usage: Usage | None
    price_context: PriceContext = field(default_factory=PriceContext)
    wait_seconds: float = 0
    limits: Mapping[str, str] = field(default_factory=dict)


class CallFailed(Exception):
    """Every failure of one call.

    `code` is a key of `common.errors.RUN_ERRORS`; `message` says what to do and never contains the API key.
    `retry_after` is in seconds, as the provider asked. `outcome_known` is False where the provider may have received,
    and charged, the call without its answer reaching us.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status_code: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
        outcome_known: bool = True,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status_code = status_code
        self.retryable = retryable
        self.retry_after = retry_after
        self.outcome_known = outcome_known
