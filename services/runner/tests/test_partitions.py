"""The committed offset never passes an unfinished record."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from runner.partitions import Offsets


def test_nothing_begun_has_nothing_to_commit() -> None:
    assert Offsets().committable == 0


def test_commit_follows_the_oldest_unfinished_record() -> None:
    offsets = Offsets()
    for offset in (10, 11, 12):
        assert offsets.begin(offset)
    offsets.finish(11)
    offsets.finish(12)
    assert offsets.committable == 10
    assert offsets.span == 3
    offsets.finish(10)
    assert offsets.committable == 13
    assert offsets.span == 0


def test_a_redelivered_record_is_not_begun_again() -> None:
    offsets = Offsets()
    assert offsets.begin(5)
    assert not offsets.begin(5)
    assert not offsets.begin(4)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_any_order_of_finishing(gaps: list[int], random: Random) -> None:
    """Offsets may have gaps (control records); records finish in any order."""
    offsets = Offsets()
    begun: list[int] = []
    for gap in gaps:
        begun.append((begun[-1] if begun else 0) + gap)
        offsets.begin(begun[-1])
    unfinished = set(begun)
    for offset in random.sample(begun, len(begun)):
        offsets.finish(offset)
        unfinished.remove(offset)
        assert offsets.committable == min(unfinished, default=begun[-1] + 1)
