"""Topics grow by a second generation beside the first, of another partition count."""

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from uuid import UUID

import httpx2
import pytest
from tests.support.books import assert_exact, drawn, until_counted

from analytics import consumer, ingest, watermark
from analytics.clickhouse import ClickHouse
from analytics.watermark import Watermark
from common import kafka as plumbing
from common.contracts.runs_v1 import RunCompleted
from common.contracts.topics import GENERATIONS, TOPICS, Generation
from common.ids import new_id, now_ms
from common.kafka import Publisher, TopicMismatch, declare_topics

Make = Callable[..., RunCompleted]
Start = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

PARTITIONS = 5


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Generation:
    """Declare a second generation, as a later release would."""
    unique = new_id()
    topics = (
        replace(topic, name=topic.name.replace("v1", f"v2-{unique}"), partitions=PARTITIONS)
        for topic in GENERATIONS[0].topics
    )
    second = Generation(*topics)
    monkeypatch.setattr(plumbing, "GENERATIONS", (*GENERATIONS, second))
    monkeypatch.setattr(plumbing, "TOPICS", (*TOPICS, *second.topics))
    names = (*consumer.TOPICS, *(topic.name for topic in second.topics))
    for module in (consumer, watermark):
        monkeypatch.setattr(module, "TOPICS", names)
    monkeypatch.setattr(ingest, "COMPLETED_TOPICS", ingest.COMPLETED_TOPICS | {second.completed.name})
    return second


async def test_both_generations_are_read_and_counted(
    start: Start,
    group: str,
    kafka: str,
    second: Generation,
    publisher: Publisher,
    completed: Make,
    workspace: UUID,
    database: ClickHouse,
) -> None:
    published = drawn(completed, workspace, 200, random.Random(4))
    await declare_topics(kafka, replication=1)
    reading = Watermark(kafka, group)
    await reading.start()

    async def publish(events: list[RunCompleted]) -> None:
        topics = [generation.completed.name for generation in (*GENERATIONS, second)]
        sends = (
            publisher.send(topics[n % 2], event.encode(), key=event.run_id.bytes, headers=event.headers())
            for n, event in enumerate(events)
        )
        await asyncio.gather(*sends)

    try:
        async with start(group):
            await publish(published)
            await until_counted(reading, database)
            await assert_exact(database, published)
        late = completed(prompt_id="late")
        await publisher.send(second.completed.name, late.encode(), headers=late.headers())
        assert not await reading.passes(now_ms() + 1, within=0.5)  # what waits in the new topics is not read
        async with start(group):
            await until_counted(reading, database)
            await assert_exact(database, [*published, late])
    finally:
        await reading.close()


async def test_each_generation_has_equal_counts(
    kafka: str, second: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await declare_topics(kafka, replication=1)
    mixed = replace(second, completed=GENERATIONS[0].completed)
    monkeypatch.setattr(plumbing, "GENERATIONS", (*GENERATIONS, mixed))
    with pytest.raises(TopicMismatch, match="partition counts differ"):
        await declare_topics(kafka, replication=1)
