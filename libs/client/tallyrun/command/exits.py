"""What the command exits with."""

from collections.abc import Mapping

from tallyrun.batches import BatchStatus
from tallyrun.errors import Declined, TallyrunError, Unreachable

OK, INTERNAL, USAGE, SOME_FAILED, AUTHENTICATION, NOT_FOUND, BUDGET, UNREACHABLE, BATCH_FAILED = range(9)
DETACHED = 130
READER_GONE = 141
"""As any program ends whose output nobody reads any more."""

SPEND_LIMIT = "spend_limit"
BUDGETS = {SPEND_LIMIT, "over_budget"}

_BY_STATUS = {401: AUTHENTICATION, 403: AUTHENTICATION, 404: NOT_FOUND, 402: BUDGET, 429: UNREACHABLE}


def of_error(error: TallyrunError) -> int:
    """Return the code for what went wrong: a run that failed is a row that failed."""
    if isinstance(error, Declined) or error.code in BUDGETS:
        return BUDGET
    if isinstance(error, Unreachable):
        return UNREACHABLE
    if error.run_id is not None:
        return SOME_FAILED
    return _BY_STATUS.get(error.status) or (USAGE if 400 <= error.status < 500 else _of_fault(error.status))


def _of_fault(status: int) -> int:
    return UNREACHABLE if status in (502, 503, 504) else INTERNAL


def of_batch(status: BatchStatus, failures: Mapping[str, int]) -> int:
    """Return the code for how a batch ended; `failures` counts its rows' error codes."""
    if status.state != "completed":
        return BATCH_FAILED
    if failures.get(SPEND_LIMIT):
        return BUDGET
    return OK if status.succeeded == status.rows else SOME_FAILED
