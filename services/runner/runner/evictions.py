"""Kafka in: a key changed or a grant was revoked, so the leases go, now (V4).

Read from before the first lease on, and on from there: a lease is dropped by what happened after it was given, so
that an eviction from before the start concerns no lease of this process.
"""

import logging
from typing import Protocol
from uuid import UUID

from aiokafka import TopicPartition
from pydantic import ValidationError

from common.contracts.credentials_v1 import CredentialsChanged, GrantRevoked
from common.contracts.event import TYPE_HEADER
from common.contracts.topics import CREDENTIALS_CHANGED
from common.kafka import Record
from common.news import News

log = logging.getLogger(__name__)


class Evicts(Protocol):
    """Holds leases."""

    def evict(self, key_id: UUID, revision: int) -> None:
        """Drop every lease of this key older than the revision."""

    def revoke(self, grant_id: UUID) -> None:
        """Drop every lease of this grant, and refuse it from now on."""

    def forget(self) -> None:
        """Drop every lease."""


class Evictions:
    """Reads the topic in no group, since every runner must hear everything."""

    def __init__(self, bootstrap: str, leases: Evicts) -> None:
        self._leases = leases
        self._news = News(bootstrap, TopicPartition(CREDENTIALS_CHANGED.name, 0), self._heard)

    async def start(self) -> None:
        """Return once every eviction from now on will be heard: lease nothing before."""
        await self._news.start()

    async def close(self) -> None:
        """Stop reading."""
        await self._news.close()

    def _heard(self, record: Record) -> None:
        try:
            self._evict(record)
        except ValidationError:  # without the error: it quotes what it read
            log.warning("an eviction cannot be read: every lease goes", extra={"offset": record.offset})
            self._leases.forget()

    def _evict(self, record: Record) -> None:
        kind, value = dict(record.headers).get(TYPE_HEADER, b"").decode(errors="replace"), record.value or b""
        if kind == GrantRevoked.TYPE:
            self._leases.revoke(GrantRevoked.model_validate_json(value).grant_id)
        else:
            changed = CredentialsChanged.model_validate_json(value)
            self._leases.evict(changed.key_id, changed.revision)
