"""Kafka in: a key changed, so its leases go, now (V4)."""

from typing import Protocol
from uuid import UUID

from faststream.kafka import KafkaBroker

from common.contracts.credentials_v1 import CredentialsChanged
from common.contracts.topics import CREDENTIALS_CHANGED


class Evicts(Protocol):
    """Holds leases."""

    def evict(self, key_id: UUID, revision: int) -> None:
        """Drop every lease of this key older than the revision."""


def eviction_broker(bootstrap: str, leases: Evicts) -> KafkaBroker:
    """Return a broker that hears every change from its start on: in no group, since every runner must hear it."""
    broker = KafkaBroker(bootstrap.split(","), logger=None)  # a string it takes for one address

    @broker.subscriber(CREDENTIALS_CHANGED.name, auto_offset_reset="latest")
    async def evict(changed: CredentialsChanged) -> None:
        leases.evict(changed.key_id, changed.revision)

    return broker
