"""Replies: to the gateway replica that waits, or into a topic of the publisher's own."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol, Unpack

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from common.contracts.event import INSTANCE_HEADER
from common.contracts.runs_v1 import ReplyTo, RunCompleted
from common.contracts.topics import OWN_REPLIES, REPLIES
from common.errors import Unavailable
from common.kafka import ANSWER_SECONDS, Extras, Publisher
from runner.metrics import UNDELIVERED

log = logging.getLogger(__name__)

SEND_SECONDS = 5.0
LOOK_SECONDS = 1.0
"""Topics that are not known are looked for at most this often, whoever names them."""


class Sender(Protocol):
    """Appends records."""

    async def deliver(self, topic: str, value: bytes | None, **extras: Unpack[Extras]) -> None:
        """Return once the broker has acknowledged, however long that takes."""


class OwnTopics:
    """Publishers' own reply topics, over a producer apart: what one of them refuses must not hold up the journal.

    They are made by operators. A reply is a courtesy, since the completion is in the log already: one whose topic or
    partition does not exist, or does not take it within five seconds, is given up, counted and logged.
    """

    def __init__(self, bootstrap: str) -> None:
        self._publisher = Publisher(bootstrap)
        self._bootstrap = bootstrap
        self._partitions: Mapping[str, int] = {}
        self._looked_at = -LOOK_SECONDS
        self._looking = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        self._admin = AIOKafkaAdminClient(
            bootstrap_servers=self._bootstrap, request_timeout_ms=round(ANSWER_SECONDS * 1000)
        )
        await self._publisher.start()
        await self._admin.start()

    async def close(self) -> None:
        """Disconnect."""
        await self._admin.close()
        await self._publisher.close()

    async def offer(self, topic: str, value: bytes, **extras: Unpack[Extras]) -> None:
        """Append if the topic takes it. Never raises, and takes seconds at most."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                there = await self._exists(topic, extras.get("partition") or 0)
            if there:
                await self._publisher.send(topic, value, timeout=SEND_SECONDS, **extras)
                return
            fault = "there is no such topic or partition"
        except TimeoutError:
            fault = "the message broker does not tell which topics there are"
        except (KafkaError, Unavailable) as error:
            fault = str(error)
        UNDELIVERED.inc()
        log.warning("a reply was given up; its run has ended all the same: %s", fault, extra={"topic": topic})

    async def _exists(self, topic: str, partition: int) -> bool:
        if partition < self._partitions.get(topic, 0):
            return True
        async with self._looking:
            if time.monotonic() >= self._looked_at + LOOK_SECONDS:
                self._looked_at = time.monotonic()
                described = await self._admin.describe_topics()
                own = (meta for meta in described if meta["topic"].startswith(OWN_REPLIES))
                self._partitions = {meta["topic"]: len(meta["partitions"]) for meta in own}
        return partition < self._partitions.get(topic, 0)


class Replies:
    """Tells who waits how a run ended, once that is in the log."""

    def __init__(self, sender: Sender, own: OwnTopics) -> None:
        self._sender = sender
        self._own = own

    async def send(self, completed: RunCompleted, value: bytes, reply_to: ReplyTo) -> None:
        """Send the completion, `value` encoded. Of a batch's run the gateway hears no texts: it reads them later."""
        extras: Extras = {
            "key": completed.run_id.bytes,
            "headers": [*completed.headers(), (INSTANCE_HEADER, reply_to.instance.encode())],
            "partition": reply_to.partition,
        }
        if reply_to.topic is not None:
            await self._own.offer(reply_to.topic, value, **extras)
            return
        if completed.batch_id is not None:
            value = completed.model_copy(update={"output": None, "response": None}).encode()
        await self._sender.deliver(REPLIES.name, value, **extras)
