"""What a partition's records meet before they are runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from common.contracts.topics import BATCHED
from common.kafka import Record
from runner.journal import Past
from runner.lane import Lane
from runner.parking import Parking, Shares


class Silent:
    """A journal that knows since when it was asked for, and never answers."""

    def __init__(self) -> None:
        self.since: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def reading(self, journal: TopicPartition, appended_at: int) -> AsyncIterator[Any]:
        self.since.set_result(appended_at)
        await asyncio.Event().wait()
        yield


def bulk(offset: int, timestamp: int, workspace: UUID) -> Record:
    headers = (("workspace", workspace.bytes),)
    return ConsumerRecord(BATCHED.name, 0, offset, timestamp, 1, None, b"{}", None, 0, 2, headers)


async def test_the_journal_is_read_since_the_oldest_record_even_if_that_one_was_parked() -> None:
    huge, small, shares, journal = uuid4(), uuid4(), Shares(1), Silent()
    shares.enter(huge)
    parts: Any = SimpleNamespace(granted_to=lambda headers: UUID(bytes=headers[0][1]))
    nothing: Any = None
    lane = Lane(parts, nothing, journal, nothing, nothing, nothing, Parking(shares))
    lane.receive(bulk(7, 1_000, huge))
    lane.receive(bulk(8, 900_000, small))
    assert lane.unfinished == 1
    assert await journal.since == 1_000
    assert lane.offsets.committable == 7
    lane.close()


async def test_a_lane_that_broke_says_so() -> None:
    """Nobody waits for its task: unasked, it would leave its partition unread without a word."""

    @asynccontextmanager
    async def unread(journal: TopicPartition, appended_at: int) -> AsyncIterator[Any]:
        yield SimpleNamespace(past=Past())

    def broken() -> None:
        raise LookupError("a fault of ours")

    parts: Any = SimpleNamespace(granted_to=lambda headers: None, reading=unread, check=broken)
    nothing: Any = None
    lane = Lane(parts, parts, parts, nothing, nothing, nothing, Parking(Shares(1)))
    lane.check()
    lane.receive(bulk(7, 1_000, uuid4()))
    with pytest.raises(LookupError):
        await watched(lane)
    lane.close()


async def watched(lane: Lane) -> None:
    async with asyncio.timeout(5):
        while True:
            lane.check()
            await asyncio.sleep(0)
