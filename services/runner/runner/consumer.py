"""Kafka in: the runs of this runner's partitions, and the committed offset that follows their ends (R1)."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from common.contracts import topics
from common.contracts.topics import MAX_MESSAGE_BYTES, is_bulk
from common.heartbeat import Heartbeat
from common.kafka import Record, SilenceWatch, member_timeouts, stop_consumer
from runner.halt import Halted
from runner.lane import Gate, Lane
from runner.parking import Parking, Shares

log = logging.getLogger(__name__)

POLL_MS = 100
POLL_RECORDS = 500
COMMIT_SECONDS = 0.25
RECONNECT_SECONDS = 2.0
PULSE_SECONDS = 0.25
LOOK_SECONDS = 5.0
LAG_TIMEOUT_SECONDS = 4.0

MOST_INTERACTIVE, MOST_BULK = 15_000, 2_000
"""Records in hand, waiting or running, before their partitions are paused. Interactive ones are read on until a
workspace's excess is refused in every partition, so that nobody waits behind it; bulk ones are read on past what is
more than a workspace's share of these."""

MOST_BYTES = 64 * 1024 * 1024
"""The same in bytes of record values."""

MOST_SPAN = 10_000
"""Offsets between a partition's oldest unfinished record and its newest: what a crash may have to read again."""

NewLane = Callable[[Parking], Lane]

GiveUp = Callable[[], Awaitable[None]]
"""Called when the partitions are taken away, before anybody else gets them; what it awaits must be short."""


class Assignment:
    """The partitions this runner owns between two rebalances, and the one committer that ends with them."""

    def __init__(
        self, consumer: AIOKafkaConsumer, owned: set[TopicPartition], new_lane: NewLane, stalled: Callable[[], bool]
    ) -> None:
        self._consumer = consumer
        self._stalled = stalled
        shares = Shares(MOST_BULK)
        self._lanes = {tp: new_lane(Parking(shares)) for tp in owned}
        self._committed: dict[TopicPartition, int] = {}
        self._committer = asyncio.create_task(self._commit_regularly())

    def receive(self, records: dict[TopicPartition, list[Record]]) -> None:
        """Hand each record to its lane."""
        for tp, batch in records.items():
            for record in batch:
                self._lanes[tp].receive(record)

    def balance(self) -> None:
        """Pause what has enough in hand and resume what has room: backpressure, by kind and by partition."""
        for bulk, most in ((False, MOST_INTERACTIVE), (True, MOST_BULK)):
            lanes = {tp: lane for tp, lane in self._lanes.items() if is_bulk(tp.topic) == bulk}
            full = _full(list(lanes.values()), most)
            self._turn(lanes, full=full)
            paused = {tp for tp, lane in lanes.items() if full or (lane.reads_on and lane.offsets.span >= MOST_SPAN)}
            self._consumer.pause(*(paused - self._consumer.paused()))
            self._consumer.resume(*((lanes.keys() - paused) & self._consumer.paused()))

    def _turn(self, lanes: dict[TopicPartition, Lane], *, full: bool) -> None:
        """Go back to what was parked, and on again."""
        for tp, lane in lanes.items():
            lane.check()
            if (offset := lane.turn(time.monotonic(), full=full)) is not None:
                self._consumer.seek(tp, offset)

    def in_hand(self, *, bulk: bool) -> int:
        """Return how many records of the kind are taken in and not finished."""
        return sum(lane.unfinished for tp, lane in self._lanes.items() if is_bulk(tp.topic) == bulk)

    @property
    def parked(self) -> int:
        """How many records are left in the log for later."""
        return sum(lane.parked for lane in self._lanes.values())

    async def lag(self) -> dict[TopicPartition, int]:
        """Return how many records of each partition are not finished, by the ends that the broker tells."""
        ends = await self._consumer.end_offsets(self._lanes)
        return {tp: max(0, end - (await self._progress(tp))) for tp, end in ends.items()}

    async def _progress(self, tp: TopicPartition) -> int:
        """Return the oldest unfinished offset; of a partition that delivered nothing yet, where it is read."""
        offsets = self._lanes[tp].offsets
        # Not by `committable`: the oldest unfinished record of a new partition is at 0.
        return offsets.committable if offsets.next else int(await self._consumer.position(tp))

    async def commit(self) -> None:
        """Commit every lane's progress since the last time."""
        progress = {tp: lane.offsets.committable for tp, lane in self._lanes.items()}
        news = {tp: offset for tp, offset in progress.items() if offset > self._committed.get(tp, 0)}
        if news:
            await self._consumer.commit(news)
            self._committed.update(news)

    def close(self) -> None:
        """The partitions are taken away: what runs goes on, but nothing of it is committed here any more."""
        self._committer.cancel()
        for lane in self._lanes.values():
            lane.close()

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_SECONDS)
            if self._stalled():  # the broker would accept even a stale member's commit
                continue
            try:
                await self.commit()
            except (CommitFailedError, IllegalStateError) as error:  # a rebalance is under way
                log.info("offsets were not committed: %s", error)
            except Exception:  # whatever it was: a committer that ends would pin the partitions
                log.warning("offsets could not be committed; trying again", exc_info=True)


def _full(lanes: list[Lane], most: int) -> bool:
    return sum(lane.unfinished for lane in lanes) >= most or sum(lane.unfinished_bytes for lane in lanes) >= MOST_BYTES


class Stalled(Exception):
    """The process stood still, as under SIGSTOP or on a paused machine, for longer than its session."""


class Pulse:
    """Notices that this process stood still for so long, whatever it was doing: joining the group included."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.forgive()

    @property
    def missed(self) -> bool:
        """Whether it stood still since it was last forgiven."""
        return self._missed or time.monotonic() - self._beat_at > self._seconds

    def forgive(self) -> None:
        """Begin anew: what was owned before is given up."""
        self._missed = False
        self._beat_at = time.monotonic()

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            self._missed = self.missed
            self._beat_at = time.monotonic()
            await asyncio.sleep(PULSE_SECONDS)


class RunConsumer(ConsumerRebalanceListener):
    """A member of the runners' group. The callbacks of a rebalance only change the assignment and hand runs over.

    While a rebalance is under way aiokafka delivers nothing, so a record that arrives after the old assignment
    ended belongs to the next one, even if it arrives before that one is announced: it waits for it.
    """

    def __init__(
        self, bootstrap: str, group: str, session_seconds: float, gate: Gate, new_lane: NewLane, give_up: GiveUp
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._session_seconds = session_seconds
        self._gate = gate
        self._new_lane = new_lane
        self._give_up = give_up
        self._assignment: Assignment | None = None
        self._assigned = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._pulse = Pulse(session_seconds)
        self.heartbeat = Heartbeat()

    @property
    def connected(self) -> bool:
        """Whether the runner is a member of the group."""
        return self._consumer is not None

    def stalled(self) -> bool:
        """Whether this process stood still for longer than its membership lasts: others may own its partitions."""
        return self._pulse.missed

    def in_hand(self, *, bulk: bool) -> int:
        """Return how many records of the kind wait here, or are being carried out."""
        return 0 if self._assignment is None else self._assignment.in_hand(bulk=bulk)

    @property
    def parked(self) -> int:
        """How many records are left in the log for later."""
        return 0 if self._assignment is None else self._assignment.parked

    async def lag(self) -> dict[TopicPartition, int]:
        """Return how many records of each of its partitions are not finished; of none while the broker is away."""
        if (assignment := self._assignment) is None:
            return {}
        try:
            async with asyncio.timeout(LAG_TIMEOUT_SECONDS):
                return await assignment.lag()
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            log.warning("the broker does not tell how far behind this runner is", extra={"kind": type(error).__name__})
            return {}

    async def beat(self) -> None:
        """Watch for such a stall until cancelled: for as long as there are calls under way."""
        await self._pulse.beat()

    async def run(self) -> None:
        """Consume until cancelled; a consumer that fails is replaced. Cancelled, it stays a member until `leave`."""
        while True:
            self.heartbeat.beat()
            try:
                await self._consume()
            except Stalled as error:
                log.warning("this runner's partitions may belong to others by now: %s", error)
                await self.leave()
            except Halted:
                log.critical("this runner halts and keeps the offsets: nothing it reads is a run", exc_info=True)
                await self.leave()
                return
            except Exception:  # whatever it was, the group must not lose its member
                log.exception("the consumer failed; a new one follows")
                await self.leave()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def leave(self) -> None:
        """Commit what is finished, unless it may be somebody else's by now; hand over what is not; leave the group."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            if self._assignment is not None and not self.stalled():
                await self._assignment.commit()
        except KafkaError:
            log.warning("the last offsets could not be committed", exc_info=True)
        await self._end_assignment()
        await stop_consumer(consumer)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """End the assignment."""
        log.info("partitions revoked", extra={"partitions": len(revoked)})
        await self._end_assignment()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Begin the next assignment."""
        log.info("partitions assigned", extra={"partitions": len(assigned)})
        if self._consumer is None:  # on its way out
            return
        if not self.stalled():  # else they may be somebody else's again, and the next poll says so
            self._assignment = Assignment(self._consumer, assigned, self._new_lane, self.stalled)
        self._assigned.set()

    async def _end_assignment(self) -> None:
        self._assigned.clear()
        if self._assignment is not None:
            self._assignment.close()
            self._assignment = None
            await self._give_up()

    async def _consume(self) -> None:
        self._pulse.forgive()
        self._consumer = consumer = _kafka_consumer(self._bootstrap, self._group, self._session_seconds)
        consumer.subscribe(_topics(), listener=self)
        await consumer.start()
        watch = SilenceWatch(consumer, member=True)
        while True:
            records = await consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            await self._until_assigned()
            if self.stalled():
                raise Stalled(f"nothing ran here for more than {self._session_seconds:g} s")
            if self._assignment is not None:
                self._assignment.receive(records)
                self._assignment.balance()
            self._gate.check()
            await watch.note(delivered=bool(records))

    async def _until_assigned(self) -> None:
        """Wait for the group, however long it takes: a broker that is away is no reason to restart this process."""
        self.heartbeat.beat()
        while not self._assigned.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._assigned.wait(), LOOK_SECONDS)
            self.heartbeat.beat()


def _topics() -> list[str]:
    """Return what is read: the runs of every generation."""
    return [topic.name for generation in topics.GENERATIONS for topic in (generation.requested, generation.batched)]


def _kafka_consumer(bootstrap: str, group: str, session_seconds: float) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **member_timeouts(session_seconds),
        # Small fetches keep what is prefetched for 24 partitions small; a broker sends a larger record all the same.
        max_partition_fetch_bytes=256 * 1024,
        fetch_max_bytes=MAX_MESSAGE_BYTES,
    )
