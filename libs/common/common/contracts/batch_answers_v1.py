"""What analytics answers the gateway about one batch. Times are UTC milliseconds, money is exact.

`read_up_to`: everything appended to the log before that time is in the answer, or in a page of it.
"""

from uuid import UUID

from common.contracts.answers_v1 import Answer, Money, TokensUsed
from common.contracts.runs_v1 import Operation, Status


class BatchRow(Answer):
    """One execution of a row that ended. `cost` None is unpriced.

    `output` and `response` are there where texts are asked for, until their retention is over. `truncated`: both were
    cut to fit into one message.
    """

    run_id: UUID
    execution_id: UUID
    custom_id: str | None
    status: Status
    error_code: str | None
    error: str | None
    retry_at: int | None
    cost: Money | None
    priced: bool
    usage: TokensUsed
    operation: Operation
    provider: str
    model: str
    served_model: str | None
    finish_reason: str | None
    truncated: bool
    latency: int
    completed_at: int
    output: str | None = None
    response: str | None = None


class BatchRows(Answer):
    """A page of what ended, each execution once, in the order of each partition of the log.

    `next_cursor` is where to go on, now or whenever more may have ended: it is given even where there is nothing more
    yet. It is opaque, of up to a few kilobytes. Who goes on from it misses none and sees none twice.
    """

    rows: list[BatchRow]
    next_cursor: str
    read_up_to: int


class BatchAccepted(Answer):
    """A run of the batch that reached the log."""

    run_id: UUID
    custom_id: str | None


class BatchAcceptance(Answer):
    """A page of the runs that reached the log, by run id; `next_cursor` None is the end.

    Runs that reach the log while its pages are read may be in none of them: ask again for those.
    """

    rows: list[BatchAccepted]
    next_cursor: str | None
    read_up_to: int


class BatchTotals(Answer):
    """Sums over the batch. `accepted` and `runs` count run ids; a run counts by its execution that completed first.

    Cost and tokens are those of every execution. `unpriced` executions have an unknown cost, which is not in `cost`.
    """

    accepted: int
    runs: int
    executions: int
    succeeded: int
    failed: int
    expired: int
    cancelled: int
    unpriced: int
    cost: Money
    input_tokens: int
    output_tokens: int
    read_up_to: int
