"""Read up to: everything appended before this time is stored, whichever replica stored it."""

import asyncio
import logging
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from analytics.batches import Stored
from analytics.consumer import TOPICS
from analytics.ingest import COMPLETED_TOPICS
from analytics.telemetry import lags, watch_age
from common.ids import now_ms
from common.singleflight import Singleflight

log = logging.getLogger(__name__)

REFRESH_SECONDS = 0.5
POLL_SECONDS = 0.02


class Watermark:
    """Compares the group's committed offsets with the ends of the partitions, as the broker knows both.

    A commit carries the append time of the last record before it, so a partition that lags says how far it got.
    `read_up_to` is in UTC milliseconds and never too late; 0 before the first look. `stored` says of the completed
    topics also which offsets that is, by the broker's own numbers instead of clocks.
    """

    def __init__(self, bootstrap: str, group: str) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._looks = Singleflight[None]()
        self.stored = Stored(0, {})

    @property
    def read_up_to(self) -> int:
        """Everything appended before this time is stored."""
        return self.stored.up_to

    async def run(self) -> None:
        """Look again and again, so that an answer never waits for the broker."""
        while True:
            try:
                await self.look()
            except Exception:  # whatever it was: a watermark that stood still would hold every answer back
                log.exception("looking how far the log is stored failed; it is tried again")
            await asyncio.sleep(REFRESH_SECONDS)

    async def start(self) -> None:
        """Connect."""
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        self._ends = AIOKafkaConsumer(bootstrap_servers=self._bootstrap)
        await self._admin.start()
        watch_age(lambda: self.read_up_to)
        await self._ends.start()
        topics = await self._admin.describe_topics(list(TOPICS))
        self._partitions = [
            TopicPartition(topic["topic"], part["partition"]) for topic in topics for part in topic["partitions"]
        ]

    async def close(self) -> None:
        """Disconnect."""
        await self._ends.stop()
        await self._admin.close()

    async def passes(self, time: int, within: float) -> bool:
        """Return whether everything appended before `time` is stored, waiting for at most `within` seconds."""
        try:
            async with asyncio.timeout(within):
                await self.look()
                while self.read_up_to < time:
                    await asyncio.sleep(POLL_SECONDS)
                    await self.look()
        except TimeoutError:
            pass
        return self.read_up_to >= time

    async def look(self) -> None:
        """Bring `read_up_to` up to date; if the broker cannot be asked, what was known stays true."""
        try:
            await self._looks.ask("look", self._look)
        except KafkaError as error:
            log.warning("the message broker does not tell offsets", extra={"kind": type(error).__name__})

    async def _look(self) -> None:
        now = now_ms()
        ends = await self._ends.end_offsets(self._partitions)
        committed = await self._admin.list_consumer_group_offsets(self._group)
        behind = {p: committed.get(p, _NOTHING) for p, end in ends.items() if committed.get(p, _NOTHING).offset < end}
        late = {p: commit for p, commit in behind.items() if not await self._expired(p, commit, ends[p])}
        lags({p: end - late[p].offset if p in late else 0 for p, end in ends.items()})
        times = map(_append_time, late.values())
        self.stored = Stored(max(self.read_up_to, min(times, default=now)), self._offsets(committed))

    def _offsets(self, committed: Mapping[TopicPartition, OffsetAndMetadata]) -> dict[str, list[int]]:
        """Return each completed partition's offset; one that was set back had been stored, and stays so."""
        stored = {topic: list(offsets) for topic, offsets in self.stored.offsets.items()}
        for part in self._partitions:
            if part.topic in COMPLETED_TOPICS:
                offsets = stored.setdefault(part.topic, [])
                offsets.extend([0] * (part.partition + 1 - len(offsets)))
                offsets[part.partition] = max(offsets[part.partition], committed.get(part, _NOTHING).offset)
        return stored

    async def _expired(self, partition: TopicPartition, commit: OffsetAndMetadata, end: int) -> bool:
        """Whether nothing was ever committed because every record was dropped before this group existed."""
        if commit is not _NOTHING:
            return False
        beginnings = await self._ends.beginning_offsets([partition])
        return bool(beginnings[partition] == end)


_NOTHING = OffsetAndMetadata(0, "")


def _append_time(commit: OffsetAndMetadata) -> int:
    return int(commit.metadata or 0)
