"""Evictions, announced on the topic that every runner reads."""

from common.contracts.credentials_v1 import CredentialsChanged, GrantRevoked
from common.contracts.topics import CREDENTIALS_CHANGED
from common.kafka import Publisher

SEND_SECONDS = 5


class Changes:
    """The announcer of what happened to a key, or to a grant."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def announce(self, event: CredentialsChanged | GrantRevoked) -> None:
        """Return once the broker acknowledged; raise `Unavailable` if it did not within five seconds."""
        await self._publisher.send(
            CREDENTIALS_CHANGED.name,
            event.encode(),
            key=event.subject,
            headers=event.headers(),
            timeout=SEND_SECONDS,
        )
