"""What can go wrong, as the gateway said it or as it was seen here."""

from collections.abc import Sequence
from typing import NamedTuple

TOLD_FAULTS = 20
"""How many bad lines are told at once: enough to see a pattern."""


class TallyrunError(Exception):
    """The gateway refused: `code` is stable, `status` the HTTP status, `retry_after` in seconds where it named one.

    `again` is False where sending it again is of no use; `run_id` is set where a run may exist.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        status: int,
        retry_after: float | None = None,
        again: bool = True,
        run_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.retry_after = retry_after
        self.again = again
        self.run_id = run_id


class Unreachable(TallyrunError):
    """There was no answer. Whether the request was carried out is not known; every call here may be repeated."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="unreachable", status=0)


class NotUnderstood(TallyrunError):
    """Something given here makes no sense, and nothing was sent."""

    def __init__(self, message: str, code: str = "invalid_request") -> None:
        super().__init__(message, code=code, status=422, again=False)


class Declined(TallyrunError):
    """The quote was not approved; nothing was submitted."""

    def __init__(self, message: str = "declined; nothing was submitted") -> None:
        super().__init__(message, code="declined", status=0, again=False)


class RowFault(NamedTuple):
    """One line that cannot be sent, counted from 1, and why."""

    line: int
    why: str


class InvalidRows(NotUnderstood):
    """These lines cannot be sent (the first twenty of them), so nothing was."""

    def __init__(self, faults: Sequence[RowFault]) -> None:
        self.faults = tuple(faults)
        more = "\n  and perhaps more" if len(faults) >= TOLD_FAULTS else ""
        told = "".join(f"\n  line {fault.line}: {fault.why}" for fault in faults)
        super().__init__(f"these lines cannot be sent, so nothing was:{told}{more}", code="invalid_rows")
