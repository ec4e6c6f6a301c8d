"""A broker, its consumer group and runner processes in memory and in virtual time: the real runner, no Kafka."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError

from common import kafka
from common.admission import Headers
from common.contracts.credentials_v1 import Lease
from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import Cost, RunCompleted, RunRequested
from common.contracts.topics import BATCHED, COMPLETED, REQUESTED
from common.identity import Grant, Signer, Verifier, new_key_pair
from common.kafka import Record
from common.providers import ProviderSettings
from runner import app, complete, consumer, execute, handover, lane
from runner.journal import MARGIN_MS, Past
from runner.limits import Limits
from runner.providers import Answer, CallFailed
from runner.settings import RunnerSettings

SESSION_SECONDS = 4.0
CALL_SECONDS = 20.0
POLL_SECONDS = 0.05
FETCHED = 4
"""Records of a partition that one poll brings."""

PARTITIONS = 2
SLOTS = 4
MOST_BULK = 4
"""Bulk runs in hand: so few that most are parked first."""

START_MS = 1_800_000_000_000
FAR_MS = START_MS + 10**9


class Clock:
    """What every process takes for the time, in seconds."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return START_MS / 1000 + self.now

    def ms(self) -> int:
        return START_MS + round(self.now * 1000)


class Loop(asyncio.SelectorEventLoop):
    """The event loop of one process: nothing in it moves unless it is stepped."""

    def __init__(self, clock: Clock) -> None:
        self._virtual = clock
        super().__init__()

    def time(self) -> float:
        return self._virtual.now

    def step(self) -> None:
        """Run what is ready, once."""
        self.call_soon(self.stop)
        self.run_forever()


@cache
def identities() -> tuple[Signer, Verifier]:
    """The gateway's signature, real but made once."""
    private, public = new_key_pair()
    return Signer("gateway", private), Verifier({"gateway": public})


class Broker:
    """The log and the committed offsets."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.logs: dict[TopicPartition, list[Record]] = defaultdict(list)
        self.committed: dict[TopicPartition, int] = defaultdict(int)

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        log = self.logs[TopicPartition(topic, partition)]
        place = (topic, partition, len(log), self.clock.ms(), 1)
        log.append(ConsumerRecord(*place, key, value, None, 0, len(value or b""), tuple(headers)))

    def journal(self, partition: int) -> list[Record]:
        return self.logs[TopicPartition(COMPLETED.name, partition)]

    def past(self, partition: int, length: int | None = None) -> Past:
        """What the first so many records of a partition's journal tell."""
        past = Past()
        for record in self.journal(partition)[:length]:
            past.learn(record)
        return past


class Member:
    """Stands for one AIOKafkaConsumer."""

    def __init__(self, process: "Process") -> None:
        self.process = process
        self.owned: set[TopicPartition] = set()
        self.journal_at: dict[int, int] = {}
        self.stopped = False
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._delivering = False
        self._revoking: asyncio.Task[None] | None = None

    def subscribe(self, topics: list[str], listener: consumer.RunConsumer) -> None:
        assert set(topics) == {REQUESTED.name, BATCHED.name}
        self._listener = listener

    async def start(self) -> None:
        await self.process.connected()
        self.process.group.join(self)
        while not self._delivering:
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        await self.process.connected()
        self._delivering, self.stopped = False, True
        self.process.group.leave(self)

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        assert max_records
        await asyncio.sleep(0)
        end = self.process.broker.clock.now + timeout_ms / 1000
        while not (found := self._fetched()) and self.process.broker.clock.now < end:
            await asyncio.sleep(POLL_SECONDS)
        return found

    def _fetched(self) -> dict[TopicPartition, list[Record]]:
        found = {}
        for tp in self.owned - self._paused if self._delivering else set():
            if batch := self.process.broker.logs[tp][self._positions[tp] :][:FETCHED]:
                self._positions[tp] += len(batch)
                found[tp] = batch
        return found

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        """Take the offsets, a stale member's too: the worst a broker could do."""
        if not self._delivering:
            raise CommitFailedError
        for tp, offset in offsets.items():
            self.process.world.commits(self.process, tp, offset)
        await self.process.connected()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.process.world.turned_back += offset < self._positions[tp]
        self._positions[tp] = offset

    def paused(self) -> set[TopicPartition]:
        return self._paused

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def assignment(self) -> set[TopicPartition]:
        return self.owned

    async def end_offsets(self, partitions: set[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self.process.broker.logs[tp]) for tp in partitions}

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]

    @property
    def rejoining(self) -> bool:
        return self._revoking is not None and self._revoking.done()

    def revoke(self) -> None:
        """The group is rebalancing: give up what is owned, then wait for the others."""
        if self._revoking is None:
            self._delivering = False
            self._revoking = self.process.loop.create_task(self._listener.on_partitions_revoked(self.owned))

    def assign(self, owned: set[TopicPartition]) -> None:
        """Records may arrive before the listener has heard, as they do from Kafka."""
        broker = self.process.broker
        self.owned, self._positions = owned, {tp: broker.committed[tp] for tp in owned}
        self.journal_at = {partition: len(broker.journal(partition)) for partition in range(PARTITIONS)}
        self._paused, self._delivering, self._revoking = set(), True, None
        if not self.process.cut:  # else killed while it waited for the others, and not missed yet
            self._assigning = self.process.loop.create_task(self._listener.on_partitions_assigned(owned))


class Group:
    """An eager rebalance whenever a member comes, goes, or has been silent for a session."""

    def __init__(self, clock: Clock, expelled: Callable[["Process"], None]) -> None:
        self._clock = clock
        self._expelled = expelled
        self._members: list[Member] = []
        self._unaware: dict[Member, float] = {}
        """Members that were expelled while they stood still, and until when they do not know."""
        self._generation = 0
        self.rebalancing = False

    def join(self, member: Member) -> None:
        self._members.append(member)
        self.rebalancing = True

    def leave(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self.rebalancing = True

    def coordinate(self) -> None:
        for member in list(self._members):
            if self._clock.now - member.process.seen > SESSION_SECONDS:
                self.leave(member)
                self._expelled(member.process)
                self._unaware[member] = float("inf")
        self._tell_expelled()
        if self.rebalancing:
            self._rebalance()

    def _tell_expelled(self) -> None:
        """An expelled member hears of it with its next heartbeat, and joins again."""
        for member, until in list(self._unaware.items()):
            if member.stopped or member.process.cut:
                del self._unaware[member]
            elif member.process.awake:
                self._unaware[member] = min(until, self._clock.now + SESSION_SECONDS / 3)
                if until <= self._clock.now:
                    del self._unaware[member]
                    self.join(member)

    def _rebalance(self) -> None:
        for member in self._members:
            if member.process.awake:
                member.revoke()
        if self._members and all(member.rejoining for member in self._members):
            self.rebalancing = False
            self._generation += 1
            for place, member in enumerate(self._members):
                member.assign(self._share(place))

    def _share(self, place: int) -> set[TopicPartition]:
        """Every generation moves the partitions on."""
        return {
            TopicPartition(topic.name, partition)
            for topic in (REQUESTED, BATCHED)
            for partition in range(PARTITIONS)
            if (partition + self._generation) % len(self._members) == place
        }


class Reading:
    """A partition's journal."""

    def __init__(self, log: list[Record], since: int) -> None:
        self.past = Past()
        self._log = log
        self._position = next((r.offset for r in log if r.timestamp >= since), len(log))
        self._catch_up()

    async def go_on(self) -> None:
        await asyncio.sleep(POLL_SECONDS)
        self._catch_up()

    def _catch_up(self) -> None:
        for record in self._log[self._position :]:
            self.past.learn(record)
        self._position = len(self._log)


class Process(app.Runner):
    """One runner process: the real one, on a loop of its own, with the network replaced."""

    def __init__(self, world: "World") -> None:
        self.world, self.broker, self.group = world, world.broker, world.group
        self.loop = Loop(world.clock)
        self.awake = True
        self.stood_still = False
        self.cut = False
        self.seen = world.clock.now
        self.member = Member(self)
        self.calls: dict[UUID, asyncio.Future[str]] = {}
        self.unpublished: set[UUID] = set()
        """Runs called here whose outcome stands nowhere yet: what is lost with this process."""
        self._drained: asyncio.Task[None] | None = None
        with pytest.MonkeyPatch.context() as patch:
            for name in ("Publisher", "Journal", "Leases", "provider_for"):
                patch.setattr(app, name, lambda _: self)
            for name in ("HttpVault", "ServiceClient", "Evictions"):
                patch.setattr(app, name, lambda *_: SimpleNamespace())
            patch.setattr(app, "Limits", lambda seconds: Limits(seconds, world.clock.monotonic))
            patch.setattr(Signer, "load", lambda *_: identities()[0])
            patch.setattr(Verifier, "load", lambda *_: identities()[1])
            super().__init__(_settings(), _providers())
        self._beating = self.loop.create_task(self.consumer.beat())
        self._tasks = [self.loop.create_task(self.consumer.run()), self.loop.create_task(self._dispatcher.run())]

    def step(self) -> None:
        if self.awake:
            self.seen = self.broker.clock.now
            self.loop.step()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.awake, self.stood_still = False, True

    def terminate(self) -> None:
        """SIGTERM."""
        self._drained = self._drained or self.loop.create_task(self._drain(self._tasks))

    @property
    def terminating(self) -> bool:
        return self._drained is not None

    @property
    def ended(self) -> bool:
        return self.cut or (self._drained is not None and self._drained.done())

    def kill(self) -> None:
        """SIGKILL: nothing that it still does reaches anybody."""
        self.cut, self.awake = True, False
        for _ in range(2):
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            for _ in range(5):
                self.loop.step()
        self.loop.close()

    async def connected(self) -> None:
        """Reach the broker, which a killed process never does again."""
        await (self.loop.create_future() if self.cut else asyncio.sleep(0))

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Append; it may die before it hears of that."""
        assert timeout is None or timeout > 0
        await self.connected()
        self.broker.append(topic, partition or 0, key, value, headers)
        self.world.appended(self, topic, partition or 0)
        await self.connected()

    deliver = send

    @asynccontextmanager
    async def reading(self, journal: TopicPartition, appended_at: int) -> AsyncIterator[Reading]:
        await self.connected()
        yield Reading(self.broker.journal(journal.partition), appended_at - MARGIN_MS)

    async def get(self, run: RunRequested, grant: Grant, token: str) -> Lease:
        assert run.workspace_id == grant.workspace_id
        assert token == self.world.grants[owner_of(run.run_id)]
        await self.connected()
        return Lease(secret="opens", key_id=run.workspace_id, version=1, revision=1, ttl_ms=1)

    async def call(self, operation: str, body: dict[str, Any], secret: object, timeout_seconds: float) -> Answer:
        """Wait for what the test answers; at the latest possible moment the provider answers by itself."""
        assert (operation, bool(secret)) == ("chat", True)
        run_id = UUID(body["run"])
        self.world.called(self, run_id)  # from here on, sent or not: a process that stands still now sends it later
        await self.connected()
        self.calls[run_id] = answer = self.loop.create_future()
        self.loop.call_later(timeout_seconds, answer_once, answer, "served")
        try:
            outcome = await answer
        finally:
            del self.calls[run_id]
        if outcome == "rate_limited":
            self.world.known_failure(self, run_id)
            raise CallFailed("rate_limited", "try again", retryable=True)
        return Answer("", "done", None, None, None, None)


@cache
def _settings() -> RunnerSettings:
    return RunnerSettings(
        kafka_bootstrap_servers="none",
        identity_dir=Path("none"),
        vault_url="http://127.0.0.1",
        session_seconds=SESSION_SECONDS,
        runner_slots=SLOTS,
        call_seconds=CALL_SECONDS,
        drain_seconds=CALL_SECONDS + 10,
    )


@cache
def _providers() -> ProviderSettings:
    return ProviderSettings()


class World:
    """Everything there is, and what must be true of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = Broker(self.clock)
        self.group = Group(self.clock, self.lost)
        self.processes: list[Process] = []
        self.workspaces = [uuid4(), uuid4()]
        self.grants = [identities()[0].grant(workspace, ("openai",), FAR_MS) for workspace in self.workspaces]
        self.runs: dict[UUID, RunRequested] = {}
        self.calls: Counter[UUID] = Counter()
        self.hits: Counter[UUID] = Counter()
        """By run: how often a process was lost while it called it."""
        self.wrong: list[str] = []
        self.turned_back = 0
        """How often a member went back for records that it had parked."""
        self._holder: dict[UUID, Process] = {}
        self._patch = self._patched()

    def _patched(self) -> pytest.MonkeyPatch:
        patch = pytest.MonkeyPatch()
        for module in (lane, handover, complete):
            patch.setattr(module, "now_ms", self.clock.ms)
        for module in (consumer, kafka, execute):
            patch.setattr(module, "time", self.clock)
        patch.setattr(consumer, "_kafka_consumer", lambda *_: self._new_member())
        patch.setattr(consumer, "MOST_BULK", MOST_BULK)
        patch.setattr(app, "price", lambda *_: Cost(priced=False))
        return patch

    def _new_member(self) -> Member:
        loop = asyncio.get_running_loop()
        process = next(process for process in self.processes if process.loop is loop)
        process.member = Member(process)
        return process.member

    def start(self) -> None:
        self.processes.append(Process(self))

    def kill(self, process: Process) -> None:
        self.lost(process)
        process.kill()
        self.processes.remove(process)

    def lost(self, process: Process) -> None:
        """Nobody may know by now how these calls ended."""
        self.hits.update(process.unpublished)

    def step(self, times: int) -> None:
        for _ in range(times):
            for process in self.processes:
                process.step()
            self.group.coordinate()
        for process in [process for process in self.processes if process.ended]:
            process.kill()
            self.processes.remove(process)

    def publish(self, run_id: UUID, *, on_unknown: str = "retry", publish_by: int = FAR_MS) -> None:
        workspace = self.workspaces[owner_of(run_id)]
        run = RunRequested.model_validate({
            "run_id": run_id, "workspace_id": workspace, "operation": "chat", "provider": "openai", "model": "m",
            "body": {"run": str(run_id)}, "deadline": 4_000_000_000_000, "publish_by": publish_by,
            "on_unknown": on_unknown, "accepted_at": self.clock.ms(),
        })  # fmt: skip
        if publish_by == FAR_MS:
            run = self.runs.setdefault(run_id, run)
        self.append(run_id, run.encode())

    def append(self, run_id: UUID, value: bytes) -> None:
        headers = [(GRANT_HEADER, self.grants[owner_of(run_id)].encode())]
        self.broker.append(topic_of(run_id), partition_of(run_id), run_id.bytes, value, headers)

    def called(self, process: Process, run_id: UUID) -> None:
        """A call begins: may it?"""
        self.calls[run_id] += 1
        process.unpublished.add(run_id)
        partition = partition_of(run_id)
        shown, now = self.broker.past(partition, process.member.journal_at[partition]), self.broker.past(partition)
        if run_id in shown.ended:
            self.wrong.append(f"{run_id} was called, though its end stood in the journal")
        held_until = min(past.held.get(run_id, 0) for past in (shown, now))
        if held_until > self.clock.ms() and self._holder[run_id] is not process:
            self.wrong.append(f"{run_id} was called, though the journal showed another runner calling it")
        holder = self._holder.get(run_id, process)
        if holder is not process and run_id in holder.unpublished and holder.stood_still:
            self.hits[run_id] += 1  # its time has passed: it stood still for longer than its call may take
        if self.calls[run_id] > 1 + (self.hits[run_id] if self.runs[run_id].on_unknown == "retry" else 0):
            self.wrong.append(f"{run_id} was called {self.calls[run_id]} times with {self.hits[run_id]} lost calls")

    def known_failure(self, process: Process, run_id: UUID) -> None:
        """The provider refused: no charge, and another attempt is no repetition."""
        self.calls[run_id] -= 1
        process.unpublished.discard(run_id)

    def appended(self, process: Process, topic: str, partition: int) -> None:
        if topic != COMPLETED.name:
            return
        last, past = self.broker.journal(partition)[-1], self.broker.past(partition)
        if last.key:
            process.unpublished -= {UUID(bytes=last.key)} & past.ended
        else:
            self._holder.update(dict.fromkeys(past.held.keys() - self._held_before(partition), process))

    def _held_before(self, partition: int) -> set[UUID]:
        return set(self.broker.past(partition, -1).held)

    def commits(self, process: Process, tp: TopicPartition, offset: int) -> None:
        """An offset is committed: may it be?"""
        ended = self.broker.past(tp.partition).ended
        log = [UUID(bytes=record.key or b"") for record in self.broker.logs[tp]]
        passed = set(log[self.broker.committed[tp] : offset]) - set(log[offset:])  # a repeated run comes again
        if unfinished := [run_id for run_id in passed if run_id in self.runs and run_id not in ended]:
            self.wrong.append(f"the commit of {tp} at {offset} passes {unfinished}")
        if offset < self.broker.committed[tp]:
            self.wrong.append(f"the commit of {tp} went back from {self.broker.committed[tp]} to {offset}")
        if not process.cut:
            self.broker.committed[tp] = offset

    def repeatable(self) -> list[UUID]:
        """Runs whose repetition any owner must know: what ended longer ago only an owner of then may remember."""
        records = [r for partition in range(PARTITIONS) for r in self.broker.journal(partition)]
        forgotten = {UUID(bytes=r.key) for r in records if r.key and r.timestamp < self.clock.ms() - MARGIN_MS}
        return [run_id for run_id in self.runs if run_id not in forgotten]

    @property
    def settled(self) -> bool:
        """Whether every run has ended and every record is committed."""
        ended = set().union(*(self.broker.past(partition).ended for partition in range(PARTITIONS)))
        topics = (REQUESTED.name, BATCHED.name)
        requested = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
        committed = all(self.broker.committed[tp] == len(self.broker.logs[tp]) for tp in requested)
        return committed and self.runs.keys() <= ended

    def completions(self) -> list[RunCompleted]:
        records = [record for partition in range(PARTITIONS) for record in self.broker.journal(partition)]
        ends = [r for r in records if dict(r.headers)["type"] == RunCompleted.TYPE.encode()]
        return [RunCompleted.model_validate_json(record.value or b"") for record in ends]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        self._patch.undo()


def answer_once(call: asyncio.Future[str], outcome: str) -> None:
    if not call.done():
        call.set_result(outcome)


def partition_of(run_id: UUID) -> int:
    return run_id.int % PARTITIONS


def topic_of(run_id: UUID) -> str:
    """Three of four are bulk."""
    return REQUESTED.name if run_id.int // 4 % 4 == 0 else BATCHED.name


def owner_of(run_id: UUID) -> int:
    """Which workspace: the one has many times more than the other."""
    return int(run_id.int % 8 == 0)
