"""A fault a minute, for as long as you like: each is made good within a minute, and memory does not grow."""

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import aiohttp
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.runners import frozen
from tests.stack import Client, Simulator, Stack
from tests.test_recovery import SERVICES, kill
from tests.test_storm import check_books

from common.contracts.topics import COMPLETED, REQUESTED

CALLERS = 6
PAUSE_SECONDS = 0.2
FROZEN_SECONDS = 4.0
CAUGHT_UP_SECONDS = 60
DRIFT = 1.05
WARM_FAULTS = 10
"""Before these, services have not seen everything yet that they keep in memory."""


class Soak(NamedTuple):
    """How long, and whether it is long enough to say something of memory."""

    faults: int
    every_seconds: float
    steady: bool


class Fault(NamedTuple):
    """What is done to which process."""

    kind: str
    process: str


FAULTS = (
    *(Fault("kill", name) for name in SERVICES),
    *(Fault("freeze", name) for name in ("kafka", "vault", "postgres")),
    Fault("kill", "kafka"),
)
READ = {"runner": (REQUESTED.name,), "analytics": (REQUESTED.name, COMPLETED.name)}
"""Groups, and what they read."""


@pytest.mark.timeout(2 * 3600)
@pytest.mark.parametrize(
    "soak", [Soak(3, 0.0, steady=False), pytest.param(Soak(60, 60.0, steady=True), marks=pytest.mark.soak)]
)
def test_faults_are_made_good_and_memory_stays(
    stack: Stack, client: Client, simulator: Simulator, unique: str, soak: Soak
) -> None:
    simulator.when(unique, latency_ms=100)
    seed = random.randrange(2**32)
    faults = drawn(seed, soak.faults)
    runs, memory = asyncio.run(soaked(stack, client, unique, soak, faults))
    executions = check_books(stack, client, runs)
    print(f"seed {seed}: {runs} runs, {len(executions) - runs} executed again; {' '.join(map(str, faults))}")
    for name, seen in memory.items():
        print(f"{name}: {seen[0] >> 20} → {seen[-1] >> 20} MiB, drift {drift(seen):.3f}")
    assert not soak.steady or {name: drift(seen) for name, seen in memory.items() if drift(seen) > DRIFT} == {}


def drawn(seed: int, count: int) -> list[Fault]:
    """Draw faults: each kind once before any comes again."""
    chance = random.Random(seed)

    def rounds() -> Iterator[Fault]:
        while True:
            yield from chance.sample(FAULTS, len(FAULTS))

    return list(itertools.islice(rounds(), count))


def drift(seen: list[int]) -> float:
    """Return the median of the last third against that of the first third, once warm; each fault gives one sample."""
    warm = seen[WARM_FAULTS:] or seen
    third = max(1, len(warm) // 3)
    return median(warm[-third:]) / median(warm[:third])


async def soaked(
    stack: Stack, client: Client, unique: str, soak: Soak, faults: list[Fault]
) -> tuple[int, dict[str, list[int]]]:
    """Call all the while, do one fault after the other; return how many runs were accepted, and samples of memory."""
    numbers, done, memory = itertools.count(), asyncio.Event(), defaultdict[str, list[int]](list)
    callers = [asyncio.create_task(caller(stack, client, unique, numbers, done)) for _ in range(CALLERS)]
    for number, fault in enumerate(faults, 1):
        begun = time.monotonic()
        await asyncio.to_thread(happen, stack, fault)
        took = await caught_up(stack)
        for name in SERVICES:
            memory[name].append(psutil.Process(stack.pid(name)).memory_info().rss)
        print(f"{number}/{len(faults)} {fault.kind} {fault.process}: caught up after {took:.1f} s", flush=True)
        await asyncio.sleep(begun + soak.every_seconds - time.monotonic())
    done.set()
    return sum(await asyncio.gather(*callers)), memory


def happen(stack: Stack, fault: Fault) -> None:
    """Let it happen, and return when its cause is gone: what was killed is back, what was frozen goes on."""
    if fault.kind == "kill":
        kill(stack, fault.process)
        return
    with frozen(stack.pid(fault.process)):
        time.sleep(FROZEN_SECONDS)


async def caller(stack: Stack, client: Client, unique: str, numbers: Iterator[int], done: asyncio.Event) -> int:
    """Run one prompt after the other, each sent again under its name until it is accepted; return how many were."""
    accepted = 0
    async with aiohttp.ClientSession(stack.url, timeout=aiohttp.ClientTimeout(total=15)) as session:
        while not done.is_set():
            number = next(numbers)
            while not await asks(session, client.token, unique, number):
                await asyncio.sleep(PAUSE_SECONDS)
            accepted += 1
            await asyncio.sleep(PAUSE_SECONDS)
    return accepted


async def asks(session: aiohttp.ClientSession, token: str, unique: str, number: int) -> bool:
    """Send a run; return whether it is accepted."""
    body = {"provider": "openai", "model": "gpt-4o-mini", "input": f"{unique} {number}"}
    headers = {"authorization": f"Bearer {token}", "prefer": "respond-async", "idempotency-key": f"{unique} {number}"}
    try:
        async with session.post("/api/integrations/run", json=body, headers=headers) as answer:
            assert answer.status in (202, 503), await answer.text()
            return answer.status == 202
    except (aiohttp.ClientError, TimeoutError):
        return False


async def caught_up(stack: Stack) -> float:
    """Return how long it takes until all that is on the log now has been done with; fail when that is too long."""
    begun = time.monotonic()
    async with asyncio.timeout(CAUGHT_UP_SECONDS):
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
        await admin.start()
        try:
            ends = await ends_of(stack)
            while not all([await done_with(admin, group, ends) for group in READ]):
                await asyncio.sleep(0.2)
        finally:
            await admin.close()
    return time.monotonic() - begun


async def ends_of(stack: Stack) -> dict[TopicPartition, int]:
    """Return where the topics end."""
    topics = (REQUESTED, COMPLETED)
    partitions = [TopicPartition(topic.name, number) for topic in topics for number in range(topic.partitions)]
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return ends


async def done_with(admin: AIOKafkaAdminClient, group: str, ends: dict[TopicPartition, int]) -> bool:
    """Whether the group has committed everything before these offsets, of the topics that it reads."""
    committed = await admin.list_consumer_group_offsets(group)
    mine = {partition: end for partition, end in ends.items() if end and partition.topic in READ[group]}
    return all(partition in committed and committed[partition].offset >= end for partition, end in mine.items())
