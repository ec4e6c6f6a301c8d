"""How many runs of a workspace wait."""

from common.contracts.answers_v1 import Answer


class Waiting(Answer):
    """Single runs (none of batches) that were accepted before `read_up_to` (UTC ms) and have not ended."""

    runs: int
    read_up_to: int
