"""Pieces of answers: what goes into one record."""

from runner.deltas import MOST_CHARACTERS, _fitting


def test_a_record_takes_what_fits_and_one_event_at_least() -> None:
    half = "x" * (MOST_CHARACTERS // 2)
    for events, count in [
        (["a"], 1), (["a"] * 1000, 1000), ([half, half], 2), ([half, half, "a"], 2), ([half + half + "a", "a"], 1),
        (["a", half + half], 1), ([], 0),
    ]:  # fmt: skip
        assert _fitting(events) == count
