"""Replies: how a finished run finds the caller who waits for it, without any coordination between replicas."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from aiokafka import TopicPartition
from pydantic import ValidationError

from common.contracts.event import INSTANCE_HEADER, TYPE_HEADER
from common.contracts.runs_v1 import ReplyTo, RunCompleted, RunDelta
from common.contracts.topics import REPLIES
from common.ids import new_id
from common.kafka import Record
from common.news import News
from gateway.metrics import WAITING

log = logging.getLogger(__name__)

Reply = asyncio.Future[RunCompleted]
Pieces = asyncio.Queue[RunDelta | RunCompleted]
"""What is told of a run while it is carried out. As large as its answer at most: a slow reader holds nobody up."""


DELTA = (TYPE_HEADER, RunDelta.TYPE.encode())


class Replies:
    """Reads one partition of `runs.replies.v1`, and hands each completion to those who wait for it.

    Several replicas may share the partition: each skips what does not carry its own instance.
    """

    def __init__(self, bootstrap: str, partition: int) -> None:
        self.reply_to = ReplyTo(partition=partition, instance=new_id().hex)
        self._instance = self.reply_to.instance.encode()
        self._news = News(bootstrap, TopicPartition(REPLIES.name, partition), self._deliver)
        self._waiting: dict[UUID, list[Reply]] = {}
        self._batches: dict[str, Callable[[RunCompleted], None]] = {}
        self._following: dict[UUID, Pieces] = {}

    async def start(self) -> None:
        """Return once replies are read."""
        await self._news.start()

    async def close(self) -> None:
        """Stop reading."""
        await self._news.close()

    def check(self) -> None:
        """Raise `Unavailable` while no replies are read."""
        self._news.check()

    @contextmanager
    def expect(self, run_id: UUID) -> Iterator[Reply]:
        """Yield a future of the run's completion. Begin to expect before the run is published."""
        reply: Reply = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(run_id, [])
        waiting.append(reply)
        try:
            with WAITING.track_inprogress():
                yield reply
        finally:
            waiting.remove(reply)
            if not waiting:
                self._waiting.pop(run_id, None)

    @contextmanager
    def of_batch(self, batch_id: str, told: Callable[[RunCompleted], None]) -> Iterator[None]:
        """Tell of each run of this batch that ends, as a summary, until the end of the block."""
        self._batches[batch_id] = told
        try:
            yield
        finally:
            if self._batches.get(batch_id) == told:  # else it is the next owner's, in this very replica
                del self._batches[batch_id]

    @contextmanager
    def follow(self, run_id: UUID) -> Iterator[Pieces]:
        """Yield a queue of what is told of the run, its completion the last. Follow before the run is published."""
        pieces = self._following[run_id] = Pieces()
        try:
            with WAITING.track_inprogress():
                yield pieces
        finally:
            self._following.pop(run_id, None)

    def _deliver(self, record: Record) -> None:
        if (INSTANCE_HEADER, self._instance) not in record.headers:
            return
        try:
            if DELTA in record.headers:
                self._piece(RunDelta.model_validate_json(record.value or b""))
            else:
                self._end(RunCompleted.model_validate_json(record.value or b""))
        except ValidationError:
            # Without the error itself: it quotes the reply, which holds somebody's output.
            log.warning("a reply cannot be read", extra={"offset": record.offset})

    def _piece(self, told: RunDelta | RunCompleted) -> None:
        if (pieces := self._following.get(told.run_id)) is not None:
            pieces.put_nowait(told)

    def _end(self, completed: RunCompleted) -> None:
        self._piece(completed)
        for reply in self._waiting.get(completed.run_id, ()):
            if not reply.done():
                reply.set_result(completed)
        if (told := self._batches.get(completed.batch_id or "")) is not None:
            told(completed)
