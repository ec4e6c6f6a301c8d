"""Analytics is killed between any two steps of its loops; afterwards every table is exact."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from tests.support.analytics import ANY, OUTCOME_STEPS, STEPS, Halt, Replicas
from tests.support.books import assert_exact, drawn, until_counted
from tests.support.clickhouse import running_server

from analytics.clickhouse import ClickHouse
from analytics.ingest import Ingest
from analytics.outcomes import ANNOUNCED_MS
from analytics.runs import Runs
from analytics.sealer import SETTLE_MS, Sealer
from analytics.usage import Usages
from analytics.watermark import Watermark
from common.admission import Admission
from common.contracts.runs_v1 import RunCompleted
from common.contracts.usage_v1 import UsageAsked
from common.engines.ports import free_port
from common.identity import Signer, Verifier
from common.ids import new_id, now_ms
from common.kafka import Record

Make = Callable[..., RunCompleted]
Publish = Callable[[list[RunCompleted]], Awaitable[None]]

SESSION_SECONDS = 1
"""A killed member holds its partitions this long."""

READER_SECONDS = 10
"""Of the one that is not killed, the default: with a million events to store a second of silence is no death."""

WITHIN = 60
"""Seconds for a process to reach its step."""


Kill = Callable[..., Awaitable[list[RunCompleted]]]


@pytest.fixture
def kill(replicas: Replicas, publish: Publish, completed: Make) -> Kill:
    """For each halt publish events, and let a replica run into it; answer everything that was published."""

    async def kill(halts: list[Halt], events: int, draw: random.Random, **settings: object) -> list[RunCompleted]:
        published: list[RunCompleted] = []
        for halt in halts:
            # A workspace for each: what one kill breaks is not healed by the marks of those after it.
            published += (mine := drawn(completed, new_id(), events, draw))
            await publish(mine)
            process = replicas.start(halt, session_seconds=SESSION_SECONDS, **settings)
            await asyncio.to_thread(process.join, WITHIN)
            assert process.exitcode == -halt.number, halt
        return published

    return kill


def somewhere(count: int, draw: random.Random) -> list[Halt]:
    return [Halt(ANY, draw.randrange(1, 15)) for _ in range(count)]


@pytest.mark.parametrize(("random_kills", "events"), [(5, 50), pytest.param(300, 3_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(3600)
async def test_killed_between_any_two_steps(
    replicas: Replicas, kill: Kill, watermark: Watermark, remote: ClickHouse, random_kills: int, events: int
) -> None:
    seed = random.randrange(2**32)
    draw = random.Random(seed)
    halts = [*map(Halt, STEPS), *somewhere(random_kills, draw)]
    published = await kill(halts, events, draw)
    replicas.start(session_seconds=READER_SECONDS)
    await until_counted(watermark, remote)
    await assert_exact(remote, published)
    print(f"seed {seed}: {len(halts)} kills, {len(published)} events: runs, hours, days, prompts exact")


@pytest.mark.parametrize(("kills", "events"), [(1, 50), pytest.param(60, 1_000, marks=pytest.mark.soak)])
@pytest.mark.timeout(3600)
async def test_killed_together_with_its_engine(
    replicas: Replicas,
    kill: Kill,
    watermark: Watermark,
    clickhouse: tuple[str, str],
    tmp_path: Path,
    kills: int,
    events: int,
) -> None:
    seed, name = random.randrange(2**32), clickhouse[1]
    draw = random.Random(seed)
    in_process = {"clickhouse_dsn": f"chdb://{tmp_path}", "clickhouse_database": name}
    published = await kill(somewhere(kills, draw), events, draw, **in_process)
    with running_server(tmp_path, free_port()) as server:
        replicas.start(session_seconds=READER_SECONDS, clickhouse_dsn=server.url, clickhouse_database=name)
        database = ClickHouse(server.url, name)
        await until_counted(watermark, database)
        await assert_exact(database, published)
        await database.close()
    print(f"seed {seed}: {kills} kills of engine and all, {len(published)} events exact")


@pytest.mark.parametrize("step", OUTCOME_STEPS)
async def test_killed_while_an_outcome_is_recorded(
    replicas: Replicas,
    remote: ClickHouse,
    verifier: Verifier,
    gateway_signer: Signer,
    completed: Make,
    as_record: Callable[..., Record],
    workspace: UUID,
    step: str,
) -> None:
    run = completed(user="ada")
    await Ingest(remote, Admission(verifier)).store([as_record(run)])
    await Sealer(remote, lambda: True).seal()
    port = free_port()
    process = replicas.start(Halt(step), session_seconds=SESSION_SECONDS, analytics_port=port)
    headers = {"authorization": f"Bearer {gateway_signer.service_token('analytics')}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
        path = f"/workspaces/{workspace}/runs/{run.run_id}/outcome"
        while process.is_alive():
            with suppress(httpx2.TransportError):
                answer = await client.post(path, json={"success": False})
                assert answer.status_code == 503  # it does not know yet how far everything is read
            await asyncio.sleep(0.05)
    assert process.exitcode == -signal.SIGKILL

    later = now_ms() + ANNOUNCED_MS + SETTLE_MS + 1000
    sealer = Sealer(remote, lambda: True, clock=lambda: later)
    while await sealer.seal():
        pass
    usages, bad = Usages(remote, now_ms), int(step != "outcome")
    counted = [await usages.answer(workspace, UsageAsked(user=user)) for user in ([], ["ada"])]
    assert [(of.source, of.totals.bad_outcomes) for of in counted] == [("days", bad), ("runs", bad)]
    assert (await Runs(remote, EverythingRead()).detail(workspace, run.run_id, None)).outcome is not None or not bad


class EverythingRead:
    async def passes(self, time: int, within: float) -> bool:
        return True


async def test_replay_and_duplicates_change_nothing(
    replicas: Replicas, publish: Publish, completed: Make, watermark: Watermark, remote: ClickHouse, kafka: str
) -> None:
    draw = random.Random(7)
    published = drawn(completed, new_id(), 500, draw)
    await publish(published)
    reader = replicas.start(session_seconds=SESSION_SECONDS)
    await until_counted(watermark, remote)
    await assert_exact(remote, published)

    await publish(draw.sample(published, len(published) // 10))  # the same events at new offsets
    reader.kill()
    again = f"replay-{new_id()}"  # a group without offsets reads everything from the earliest one
    replicas.start(session_seconds=SESSION_SECONDS, consumer_group=again)
    replayed = Watermark(kafka, again)
    await replayed.start()
    try:
        await until_counted(replayed, remote)
    finally:
        await replayed.close()
    await assert_exact(remote, published)
