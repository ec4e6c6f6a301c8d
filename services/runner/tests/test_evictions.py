"""Evictions are heard from before the first lease on, whatever else stands in the topic."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from common.contracts.credentials_v1 import CredentialsChanged, GrantRevoked
from common.contracts.topics import CREDENTIALS_CHANGED
from common.kafka import Publisher
from runner.evictions import Evictions


class Heard:
    """Notes what it is told, and tells when that is enough."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []
        self.news = asyncio.Event()

    def evict(self, key_id: UUID, revision: int) -> None:
        self._note(("evict", (key_id, revision)))

    def revoke(self, grant_id: UUID) -> None:
        self._note(("revoke", grant_id))

    def forget(self) -> None:
        self._note(("forget", None))

    def _note(self, told: tuple[str, object]) -> None:
        self.told.append(told)
        self.news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.told) < count:
                await self.news.wait()
                self.news.clear()


async def announce(publisher: Publisher, event: CredentialsChanged | GrantRevoked) -> None:
    await publisher.send(CREDENTIALS_CHANGED.name, event.encode(), key=event.subject, headers=event.headers())


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
async def evictions(kafka: str, heard: Heard) -> AsyncIterator[Evictions]:
    evictions = Evictions(kafka, heard)
    await evictions.start()
    yield evictions
    await evictions.close()


async def test_what_is_announced_after_the_start_is_heard_at_once(
    evictions: Evictions, publisher: Publisher, heard: Heard
) -> None:
    workspace, key, grant = uuid4(), uuid4(), uuid4()
    await announce(publisher, GrantRevoked(workspace_id=workspace, grant_id=grant))
    await announce(publisher, CredentialsChanged(workspace_id=workspace, key_id=key, revision=7, reason="deactivated"))
    await heard.until(2)
    assert heard.told == [("revoke", grant), ("evict", (key, 7))]


async def test_what_cannot_be_read_drops_every_lease(evictions: Evictions, publisher: Publisher, heard: Heard) -> None:
    for value in (b"nonsense", b"{}", None):
        await publisher.send(CREDENTIALS_CHANGED.name, value, key=b"x")
    await announce(publisher, GrantRevoked(workspace_id=uuid4(), grant_id=uuid4()))
    await heard.until(4)
    assert [what for what, _ in heard.told] == ["forget"] * 3 + ["revoke"]
