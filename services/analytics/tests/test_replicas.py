"""Several processes of analytics share partitions and one database; some stand still, leave or join."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from tests.support.analytics import Halt, Replicas
from tests.support.books import assert_exact, drawn, until_counted
from tests.support.groups import committed, group_state

from analytics.clickhouse import ClickHouse
from analytics.watermark import Watermark
from common.contracts.runs_v1 import RunCompleted

Make = Callable[..., RunCompleted]
Publish = Callable[[list[RunCompleted]], Awaitable[None]]

SESSION_SECONDS = 2
WITHIN = 30
ROUNDS = [1, pytest.param(20, marks=pytest.mark.soak)]


async def _until_members(admin: AIOKafkaAdminClient, group: str, count: int) -> None:
    async with asyncio.timeout(WITHIN):
        while await group_state(admin, group) != ("Stable", count):
            await asyncio.sleep(0.05)


def _stands_still(process: BaseProcess) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def _until_stopped(process: BaseProcess) -> None:
    async with asyncio.timeout(WITHIN):
        while not _stands_still(process):
            await asyncio.sleep(0.05)


async def _rows(database: ClickHouse, table: str) -> int:
    counted = await database._run(lambda: database._client.query(f"SELECT count() FROM {table}").result_rows)
    return int(counted[0][0])


def _wake(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.timeout(900)
async def test_a_reader_that_stood_still_commits_nothing_when_it_wakes(
    replicas: Replicas,
    publish: Publish,
    completed: Make,
    workspace: UUID,
    watermark: Watermark,
    remote: ClickHouse,
    admin: AIOKafkaAdminClient,
    group: str,
    rounds: int,
) -> None:
    draw, published = random.Random(rounds), list[RunCompleted]()
    for _ in range(rounds):
        published += (before := drawn(completed, workspace, 100, draw))
        await publish(before)
        stale = replicas.start(Halt("commit", number=signal.SIGSTOP), session_seconds=SESSION_SECONDS)
        await _until_stopped(stale)
        owner = replicas.start(session_seconds=SESSION_SECONDS)
        published += (meanwhile := drawn(completed, workspace, 100, draw))
        await publish(meanwhile)
        await until_counted(watermark, remote)
        before_waking = await committed(admin, group)

        _wake(stale)
        async with asyncio.timeout(WITHIN):
            while await group_state(admin, group) != ("Stable", 2):
                assert await committed(admin, group) == before_waking
                await asyncio.sleep(0.05)
        assert await committed(admin, group) == before_waking
        published += (after := drawn(completed, workspace, 100, draw))
        await publish(after)
        await until_counted(watermark, remote)
        await assert_exact(remote, published)
        stale.kill()
        owner.kill()
    print(f"{rounds} times: {len(published)} events exact, {len(before_waking)} committed offsets untouched")


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.timeout(900)
async def test_a_sealer_that_stood_still_overwrites_nothing_when_it_wakes(
    replicas: Replicas,
    publish: Publish,
    completed: Make,
    workspace: UUID,
    watermark: Watermark,
    remote: ClickHouse,
    rounds: int,
) -> None:
    draw, published = random.Random(rounds), list[RunCompleted]()
    for _ in range(rounds):
        published += (before := drawn(completed, workspace, 100, draw))
        await publish(before)
        # Its version is taken, its figures are not written.
        stale = replicas.start(Halt("seal_hours", number=signal.SIGSTOP), session_seconds=SESSION_SECONDS)
        await _until_stopped(stale)
        owner = replicas.start(session_seconds=SESSION_SECONDS)
        published += (meanwhile := drawn(completed, workspace, 100, draw))
        await publish(meanwhile)
        await until_counted(watermark, remote)
        await assert_exact(remote, published)
        written = await _rows(remote, "usage_prompts")

        _wake(stale)
        async with asyncio.timeout(WITHIN):  # it goes on where it stood: hours, days, and the prompts last
            while await _rows(remote, "usage_prompts") == written:
                await asyncio.sleep(0.05)
        await assert_exact(remote, published)
        stale.kill()
        owner.kill()
    print(f"{rounds} times: {len(published)} events exact after the stale sealer wrote")


async def test_replicas_share_the_work_while_one_leaves_and_one_joins(
    replicas: Replicas,
    publish: Publish,
    completed: Make,
    watermark: Watermark,
    workspace: UUID,
    remote: ClickHouse,
    admin: AIOKafkaAdminClient,
    group: str,
) -> None:
    draw, published = random.Random(3), list[RunCompleted]()

    async def more() -> None:
        published.extend(events := drawn(completed, workspace, 200, draw))
        await publish(events)

    one, _ = (replicas.start(session_seconds=SESSION_SECONDS) for _ in range(2))
    await more()
    await _until_members(admin, group, 2)
    await more()
    one.terminate()
    await more()
    await asyncio.to_thread(one.join, WITHIN)
    assert not one.is_alive()
    replicas.start(session_seconds=SESSION_SECONDS)
    await more()
    await _until_members(admin, group, 2)
    await more()
    await until_counted(watermark, remote)
    await assert_exact(remote, published)
