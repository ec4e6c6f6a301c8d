"""The ids of a row's runs: who knows batch, row and round knows the run, so that none is ever made twice."""

from itertools import chain
from uuid import UUID

from common.ids import named_run_id
from gateway.batches.again import MOST_ROUNDS


def round_id(batch_id: str, custom_id: str, number: int) -> UUID:
    """Return the id of the run that this round of the row is."""
    return named_run_id(batch_id, custom_id, str(number))


def round_of(batch_id: str, custom_id: str, run_id: UUID, likely: int = 0) -> int | None:
    """Return which round of the row a run is; None for a run that somebody else published."""
    for number in chain((likely,), range(MOST_ROUNDS + 1)):
        if round_id(batch_id, custom_id, number) == run_id:
            return number
    return None
