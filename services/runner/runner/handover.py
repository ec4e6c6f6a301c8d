"""Giving partitions up without a second call: the next owner learns which runs are still being called (R2)."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from uuid import UUID

from aiokafka import TopicPartition

from common.contracts.runs_v1 import Handover
from common.errors import Unavailable
from common.ids import now_ms
from common.kafka import Publisher
from runner.dispatch import Turn

log = logging.getLogger(__name__)

SEND_SECONDS = 3.0
"""Within a rebalance no heartbeat is sent, so it must not take long: without a handover a call may be repeated."""

MARGIN_SECONDS = 5.0
"""From the end of the longest call to its acknowledged completion."""


class Handovers:
    """Writes handovers into the journal."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def hand_over(self, calling: Mapping[TopicPartition, list[UUID]], seconds: float) -> None:
        """Tell the next owners, by journal, which runs are still being called, for at most so long."""
        until = now_ms() + round((seconds + MARGIN_SECONDS) * 1000)
        await asyncio.gather(*(self._send(journal, runs, until) for journal, runs in calling.items()))

    async def give_back(self, turns: Iterable[Turn]) -> None:
        """Tell the next owners that these runs are not being called any more, and have not ended."""
        await asyncio.gather(*(self._send(turn.journal, [turn.run_id], 0) for turn in turns))

    async def _send(self, journal: TopicPartition, run_ids: list[UUID], until: int) -> None:
        handover = Handover(run_ids=run_ids, until=until)
        try:
            await self._publisher.send(
                journal.topic,
                handover.encode(),
                headers=handover.headers(),
                partition=journal.partition,
                timeout=SEND_SECONDS,
            )
        except Unavailable as error:
            log.warning("runs were not handed over: %s", error.message, extra={"runs": len(run_ids)})
