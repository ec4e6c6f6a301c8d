"""The chains' heads, signed and published each minute: what no later change of the database takes back."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from uuid import UUID

from common.contracts.audit_v1 import AuditHead, AuditHeads, StatedHeads
from common.contracts.topics import AUDIT_HEADS
from common.ids import now_ms
from common.kafka import Publisher
from vault.chain import NO_WORKSPACE, Head
from vault.metrics import BACKWARDS, HEADS_AT

log = logging.getLogger(__name__)

STATEMENT = "audit-heads"
"""The kind of statement, as it is signed."""

ANEW_SECONDS = 86_400
"""Once a day even a chain that rests is published: the topic does not keep its heads for ever."""

PER_STATEMENT = 100
SEND_SECONDS = 5


class Store(Protocol):
    """Where the chains are."""

    async def audit_heads(self) -> dict[UUID, Head]:
        """Return every chain's head."""


class Sign(Protocol):
    """Signs as the vault."""

    def statement(self, kind: str, claims: Mapping[str, object]) -> str:
        """Return the signed statement."""


Publish = Callable[[AuditHeads], Awaitable[None]]
"""Returns once the statement is where the vault cannot take it back; raises `Unavailable` otherwise."""


class Heads:
    """Publishes the heads that moved, and raises the alarm over one that moved back."""

    def __init__(self, store: Store, sign: Sign, publish: Publish, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._sign = sign
        self._publish = publish
        self._clock = clock
        self._published: dict[UUID, Head] = {}
        self._all_at = clock()

    async def publish(self) -> None:
        """Publish each head that moved, and once a day all; raise `Unavailable` where that fails."""
        heads = await self._store.audit_heads()
        for chain in self._backwards(heads):
            BACKWARDS.inc()
            log.error("rows were taken out of the audit, or replaced: run `vault audit verify`", extra={"chain": chain})
        due = [(chain, head) for chain, head in heads.items() if self._due(chain, head)]
        for first in range(0, len(due), PER_STATEMENT):
            await self._state(dict(due[first : first + PER_STATEMENT]))
        if self._clock() >= self._all_at:
            self._all_at = self._clock() + ANEW_SECONDS
        HEADS_AT.set_to_current_time()

    def _due(self, chain: UUID, head: Head) -> bool:
        return self._clock() >= self._all_at or self._published.get(chain) != head

    def _backwards(self, heads: Mapping[UUID, Head]) -> list[str]:
        """Return the chains that lost what was published of them."""
        found = [(chain, before, heads.get(chain, Head())) for chain, before in self._published.items()]
        return [str(chain) for chain, before, now in found if now.seq <= before.seq and now != before]

    async def _state(self, heads: dict[UUID, Head]) -> None:
        stated = StatedHeads(at=now_ms(), heads=tuple(_stated(chain, head) for chain, head in heads.items()))
        statement = self._sign.statement(STATEMENT, stated.model_dump(mode="json"))
        await self._publish(AuditHeads(statement=statement))
        log.info("audit heads", extra={"heads": len(heads), "statement": statement})
        self._published.update(heads)


def _stated(chain: UUID, head: Head) -> AuditHead:
    workspace_id = None if chain == NO_WORKSPACE else chain
    return AuditHead(workspace_id=workspace_id, seq=head.seq, mac=head.mac.hex(), at=head.at)


def to_topic(publisher: Publisher) -> Publish:
    """Return what publishes on the topic that keeps the heads."""

    async def publish(heads: AuditHeads) -> None:
        await publisher.send(AUDIT_HEADS.name, heads.encode(), headers=heads.headers(), timeout=SEND_SECONDS)

    return publish
