"""How complete an answer is: what was read, what has ended of it, and what has not."""

from common.contracts.answers_v1 import Answer


class Completeness(Answer):
    """Counts of runs of the asked workspace, days and filters; times are UTC milliseconds, None before the first look.

    `read_up_to`: everything appended to the log before that time is in the figures.
    `complete_up_to`: of what is read, every run accepted before that time has ended, or is lost; the workspace's,
    whatever is asked.
    `accepted` = `finished` + `in_flight` + `lost`. Lost runs were accepted and have not ended, though their deadline
    and the longest call after it are over: they are waited for no more, and still end as usual should they turn up.
    `repeated` counts executions after a run's first one, `unpriced` the runs with an execution whose cost is unknown.
    `not_filtered`: the filters that cannot be put to a run before it has ended. Every count here leaves them out.
    """

    read_up_to: int | None
    complete_up_to: int | None
    accepted: int
    finished: int
    in_flight: int
    lost: int
    repeated: int
    unpriced: int
    not_filtered: list[str] = []
