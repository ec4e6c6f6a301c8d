"""What is parked comes in later, whatever the order; and a small workspace never waits for all of a huge one."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from runner.parking import READ_ON_SECONDS, Parking, Shares

HUGE, SMALL, THIRD = (UUID(int=number) for number in range(3))
MOST = 6
POLL = 4


def test_alone_a_workspace_may_have_everything_and_beside_others_an_equal_part() -> None:
    shares = Shares(MOST)
    for _ in range(MOST):
        assert not shares.full(HUGE)
        shares.enter(HUGE)
    assert shares.full(HUGE)
    assert not shares.full(SMALL)
    shares.enter(SMALL)
    shares.enter(THIRD)
    for _ in range(MOST - MOST // 3 + 1):
        assert shares.full(HUGE)
        shares.leave(HUGE)
    assert not shares.full(HUGE)


class Partition:
    """A log that is read as the consumer does it: some records a poll, from wherever the parking says."""

    def __init__(self, owners: list[UUID]) -> None:
        self.owners = owners
        self.shares = Shares(MOST)
        self.parking = Parking(self.shares)
        self.position = self.frontier = 0
        self.admitted: list[int] = []
        self.in_hand: list[int] = []
        self.read = 0
        self.now = 0.0

    def poll(self) -> None:
        for offset in range(self.position, min(self.position + POLL, len(self.owners))):
            self.read += 1
            new = offset == self.frontier
            self.frontier += new
            if (new or self.parking.parked(self.owners[offset], offset)) and self._admit(offset):
                self.in_hand.append(offset)
                self.admitted.append(offset)
            self.position = offset + 1
        self.now += READ_ON_SECONDS / 2
        turned = self.parking.turn(self.position, self.frontier, self.now, full=len(self.in_hand) >= MOST)
        self.position = self.position if turned is None else turned

    def _admit(self, offset: int) -> bool:
        return self.parking.admit(self.owners[offset], offset)

    def finish(self, place: int) -> None:
        self.parking.finish(self.in_hand.pop(place % len(self.in_hand)))


@given(
    st.lists(st.sampled_from([HUGE, HUGE, HUGE, SMALL, THIRD]), max_size=60),
    st.lists(st.integers(0, MOST), min_size=1, max_size=20),
)
def test_every_record_comes_in_once(owners: list[UUID], finishing: list[int]) -> None:
    partition = Partition(owners)
    for step in range(400):
        partition.poll()
        for place in range(finishing[step % len(finishing)]):
            if partition.in_hand:
                partition.finish(place + step)
    while partition.in_hand:
        partition.finish(0)
    for _ in range(400):
        partition.poll()
        while partition.in_hand:
            partition.finish(0)
    assert sorted(partition.admitted) == list(range(len(owners)))


def test_a_small_workspace_comes_in_past_a_huge_one_and_nothing_is_read_many_times() -> None:
    partition = Partition([HUGE] * 400 + [SMALL] * 3)
    while HUGE not in {partition.owners[offset] for offset in partition.in_hand} or partition.frontier < 403:
        partition.poll()  # nothing ends meanwhile
    assert [offset for offset in partition.admitted if offset >= 400] == [400, 401, 402]
    assert len(partition.admitted) == MOST + 3
    while len(partition.admitted) < 403:
        partition.finish(0)
        partition.poll()
    assert partition.read < 3 * 403
