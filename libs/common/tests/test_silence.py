"""A consumer that has gone silent is noticed; one that is merely idle is left alone."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from common import kafka
from common.kafka import ConsumerSilent, SilenceWatch, stop_consumer

FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Consumer:
    """What the watch asks a consumer."""

    def __init__(self, behind: set[TopicPartition], paused: frozenset[TopicPartition] = frozenset()) -> None:
        self.behind = behind
        self._paused = paused

    def assignment(self) -> set[TopicPartition]:
        return {FIRST, SECOND}

    def paused(self) -> frozenset[TopicPartition]:
        return self._paused

    async def end_offsets(self, partitions: set[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 10)

    async def position(self, partition: TopicPartition) -> int:
        return 9 if partition in self.behind else 10


@pytest.fixture(autouse=True)
def _probe_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "PROBE_SECONDS", 0)


def watch_of(consumer: Consumer, *, member: bool = False) -> SilenceWatch:
    return SilenceWatch(consumer, member=member)  # type: ignore[arg-type] # as much of a consumer as it asks for


async def silent_after(watch: SilenceWatch, polls: int) -> bool:
    try:
        for _ in range(polls):
            await watch.note(delivered=False)
    except ConsumerSilent:
        return True
    return False


async def test_behind_and_silent_is_noticed_after_three_probes() -> None:
    assert not await silent_after(watch_of(Consumer({SECOND})), 2)
    assert await silent_after(watch_of(Consumer({SECOND})), 3)


async def test_idle_at_the_end_is_left_alone() -> None:
    assert not await silent_after(watch_of(Consumer(set())), 10)


async def test_a_paused_partition_may_be_behind() -> None:
    assert not await silent_after(watch_of(Consumer({FIRST}, frozenset({FIRST}))), 10)


async def test_a_delivery_starts_the_count_anew() -> None:
    watch = watch_of(Consumer({FIRST}))
    assert not await silent_after(watch, 2)
    await watch.note(delivered=True)
    assert not await silent_after(watch, 2)


class Unanswered(Consumer):
    """Its broker is away."""

    async def end_offsets(self, partitions: set[TopicPartition]) -> dict[TopicPartition, int]:
        raise TimeoutError


async def test_a_broker_that_does_not_answer_costs_a_member_its_place_only_after_three_probes() -> None:
    with pytest.raises(TimeoutError):
        await watch_of(Unanswered(set())).note(delivered=False)
    assert not await silent_after(watch_of(Unanswered(set()), member=True), 2)
    assert await silent_after(watch_of(Unanswered(set()), member=True), 3)


async def test_a_stop_that_a_stray_cancellation_cuts_short_closes_the_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = asyncio.Event()

    async def cut_short() -> None:
        raise asyncio.CancelledError

    async def close() -> None:
        closed.set()

    consumer: Any = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:9")
    with monkeypatch.context() as patched:
        patched.setattr(consumer, "stop", cut_short)
        patched.setattr(consumer._client, "close", close)
        await stop_consumer(consumer)
    assert closed.is_set()
    await consumer.stop()
