import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from uuid import UUID

from prometheus_client import REGISTRY

from analytics.clickhouse import ClickHouse
from analytics.consumer import Consumer
from analytics.ingest import Ingest, Refused
from analytics.runs import Runs
from analytics.watermark import Watermark
from common.contracts.runs_v1 import RunCompleted
from common.contracts.topics import COMPLETED
from common.errors import Unavailable
from common.ids import now_ms
from common.kafka import Publisher, Record
from common.singleflight import Singleflight

Make = Callable[..., RunCompleted]


async def test_while_the_database_is_away_it_waits_and_loses_nothing(
    kafka: str,
    group: str,
    ingest: Ingest,
    database: ClickHouse,
    publisher: Publisher,
    completed: Make,
    workspace: UUID,
) -> None:
    class Flaky:
        refusals = 2

        async def store(self, records: Sequence[Record]) -> list[Refused]:
            if self.refusals:
                self.refusals -= 1
                raise Unavailable("away")
            return await ingest.store(records)

    watermark, flaky = Watermark(kafka, group), Flaky()
    waits = REGISTRY.get_sample_value("tallyrun_analytics_database_waits_total") or 0
    consumer = Consumer(kafka, group, 10, flaky, publisher)
    run = completed()
    await publisher.send(COMPLETED.name, run.encode(), headers=run.headers())
    await watermark.start()
    reading = asyncio.create_task(consumer.run())
    try:
        assert await watermark.passes(now_ms(), within=20)
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await watermark.close()
    assert flaky.refusals == 0
    assert REGISTRY.get_sample_value("tallyrun_analytics_database_waits_total") == waits + 2
    assert (await Runs(database, watermark).detail(workspace, run.run_id, None)).status == "succeeded"


async def test_what_nobody_stored_is_not_read(kafka: str, group: str, publisher: Publisher, completed: Make) -> None:
    run = completed()
    await publisher.send(COMPLETED.name, run.encode(), headers=run.headers())
    watermark = Watermark(kafka, group)
    await watermark.start()
    assert not await watermark.passes(run.accepted_at, within=0.5)
    assert sum(_lags()) >= 1
    await watermark.close()


def _lags() -> list[float]:
    name, labels = "tallyrun_analytics_consumer_lag_records", {"topic": COMPLETED.name}
    places = [{**labels, "partition": str(number)} for number in range(COMPLETED.partitions)]
    return [REGISTRY.get_sample_value(name, place) or 0 for place in places]


async def test_identical_questions_in_flight_are_answered_once() -> None:
    asked: list[str] = []
    release = asyncio.Event()

    def question(name: str) -> Callable[[], Coroutine[None, None, str]]:
        async def answer() -> str:
            asked.append(name)
            await release.wait()
            return name

        return answer

    flights = Singleflight[str]()
    waiting = [asyncio.create_task(flights.ask(name, question(name))) for name in ("a", "a", "a", "b")]
    await asyncio.sleep(0)
    waiting[0].cancel()  # one who goes away does not take the answer from the others
    release.set()
    assert await asyncio.gather(*waiting[1:]) == ["a", "a", "b"]
    assert asked == ["a", "b"]
    await flights.ask("a", question("a"))
    assert asked == ["a", "b", "a"]
