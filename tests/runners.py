"""Runners beside the stack's own, and what became of runs that were published straight to Kafka."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import UUID

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.stack import Stack, request, until

from common.contracts.event import GRANT_HEADER, TYPE_HEADER
from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import BATCHED, COMPLETED, PARTITIONS
from common.engines.ports import free_port
from common.identity import Signer
from common.ids import new_id, now_ms
from common.kafka import FETCH_LIMITS, Publisher, Record

HOUR_MS = 3_600_000
PUBLISHED_AT_ONCE = 5_000
ADMIN_PAUSE_SECONDS = 0.2


class Beside:
    """One more runner (or another service), with the environment of the stack's; started again when it is killed.

    `command`: what to run instead of `-m <service>`; further settings are added to the environment.
    """

    def __init__(
        self, stack: Stack, log: Path, service: str = "runner", command: Sequence[str] = (), **settings: object
    ) -> None:
        self._log = log
        self._command = [sys.executable, *(command or ("-m", service))]
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        own = {f"{service}_port": port, **settings}
        self._environment = psutil.Process(stack.pid(service)).environ()
        self._environment |= {name.upper(): str(value) for name, value in own.items()}
        self.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stderr=log)

    def kill(self) -> None:
        """SIGKILL, and start it again."""
        self.stop(signal.SIGKILL)
        self.start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Return how it ended."""
        self._process.send_signal(number)
        return self._process.wait()

    def ready(self) -> bool:
        try:
            return request("GET", f"{self.url}/health/ready").status == 200
        except OSError:
            return False


@contextmanager
def runners_beside(stack: Stack, count: int) -> Iterator[list[Beside]]:
    """Run so many more while the block runs; all are up when it begins."""
    runners = [Beside(stack, stack.home / "logs" / f"runner-beside-{number}.log") for number in range(count)]
    try:
        for number, runner in enumerate(runners):
            until(runner.ready, f"runner {number} beside the stack's is up")
        yield runners
    finally:
        for runner in runners:
            runner.stop()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop the process without ending it, as a paused machine does; nobody is told."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def publish(
    stack: Stack, workspace: UUID, prompt: Callable[[int], str], numbers: range, issued: str | None = None
) -> None:
    """Publish bulk runs as an internal service would: straight to Kafka, with a grant for the workspace."""
    signer = Signer.load("gateway", stack.home / "identity" / "gateway")
    grant = (issued or signer.grant(workspace, ("openai",), 2**31)).encode()
    publisher = Publisher(stack.kafka, linger_ms=5)
    await publisher.start()
    for first in range(0, len(numbers), PUBLISHED_AT_ONCE):
        some = numbers[first : first + PUBLISHED_AT_ONCE]
        await asyncio.gather(*(_publish(publisher, workspace, prompt(number), grant) for number in some))
    await publisher.close()


async def _publish(publisher: Publisher, workspace: UUID, prompt: str, grant: bytes) -> None:
    now, body = now_ms(), {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}]}
    run = RunRequested(
        run_id=new_id(), workspace_id=workspace, operation="chat", provider="openai", model="gpt-4o-mini", body=body,
        deadline=now + 12 * HOUR_MS, publish_by=now + HOUR_MS, accepted_at=now,
    )  # fmt: skip
    headers = [*run.headers(), (GRANT_HEADER, grant)]
    await publisher.send(BATCHED.name, run.encode(), key=run.run_id.bytes, headers=headers)


async def all_completed(stack: Stack, workspace: UUID, count: int, seconds: float) -> list[RunCompleted]:
    """Return the workspace's completions once there is one for each of so many runs; then every one that is there."""
    completed: list[RunCompleted] = []
    async with asyncio.timeout(seconds), _reader(stack, COMPLETED.name) as consumer:
        while len({c.run_id for c in completed}) < count or await _behind(consumer):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                ends = [RunCompleted.model_validate_json(r.value or b"") for r in records if _is_end(r)]
                completed += [end for end in ends if end.workspace_id == workspace and end.operation != "check"]
    return completed


def _is_end(record: Record) -> bool:
    return dict(record.headers).get(TYPE_HEADER) == RunCompleted.TYPE.encode()


async def everything(stack: Stack, topic: str) -> list[Record]:
    """Return every record of a topic up to its present end."""
    found: list[Record] = []
    async with _reader(stack, topic) as consumer:
        while not found or await _behind(consumer):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += records
    return found


async def completions(stack: Stack) -> int:
    """Return how many records the completed topic holds."""
    async with _reader(stack, COMPLETED.name) as consumer:
        return sum((await consumer.end_offsets(consumer.assignment())).values())


@asynccontextmanager
async def _reader(stack: Stack, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, enable_auto_commit=False, **FETCH_LIMITS)
    async with consumer:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        yield consumer


async def _behind(consumer: AIOKafkaConsumer) -> bool:
    ends = await consumer.end_offsets(consumer.assignment())
    return any([end > await consumer.position(partition) for partition, end in ends.items()])


class Commits:
    """Watches what the runners commit of the bulk topic."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._seen: list[tuple[int, dict[int, int]]] = []

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._stack.kafka)
        await admin.start()
        try:
            while True:
                committed = await admin.list_consumer_group_offsets("runner")
                offsets = {tp.partition: told.offset for tp, told in committed.items() if tp.topic == BATCHED.name}
                self._seen.append((now_ms(), offsets))
                await asyncio.sleep(ADMIN_PAUSE_SECONDS)
        finally:
            await admin.close()

    async def check(self, runs: set[UUID]) -> int:
        """Fail if an offset went back or passed one of the runs before its end; return how often was looked."""
        ended = {r.key: r.timestamp for r in reversed(await everything(self._stack, COMPLETED.name)) if _is_end(r)}
        requested = await everything(self._stack, BATCHED.name)
        ours = {(r.partition, r.offset): ended[r.key] for r in requested if r.key and UUID(bytes=r.key) in runs}
        passed: dict[int, int] = {}
        for looked_at, offsets in self._seen:
            for partition, offset in offsets.items():
                before = passed.get(partition, 0)
                assert offset >= before, f"partition {partition} went back from {before} to {offset}"
                early = [o for o in range(before, offset) if ours.get((partition, o), 0) > looked_at]
                assert early == [], f"partition {partition}: {offset} was committed before the ends of {early}"
                passed[partition] = offset
        return len(self._seen)
