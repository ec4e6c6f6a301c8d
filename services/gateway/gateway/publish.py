"""Records onto the log: each send is bounded, and a lost acknowledgement is told with the run's id."""

from uuid import UUID

from common.contracts.batches_v1 import BatchCancelled
from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import BATCHES_CANCELLED, GENERATIONS, MAX_BODY_BYTES, MAX_VALUE_BYTES
from common.errors import TooLarge
from common.ids import now_ms
from common.kafka import OutcomeUnknown, Publisher
from common.telemetry import TRACING, name_run, record_headers
from gateway.metrics import PUBLISH_SECONDS

NEWEST = GENERATIONS[-1]


class RequestLog:
    """Appends runs, to the newest generation's interactive topic unless told otherwise."""

    def __init__(self, publisher: Publisher, publish_seconds: float) -> None:
        self._publisher = publisher
        self._seconds = publish_seconds

    def publish_by(self) -> int:
        """Return the time (UTC ms) after which a record sent now must count as never accepted."""
        return now_ms() + round(self._seconds * 1000)

    async def append(
        self,
        request: RunRequested,
        grant: str,
        topic: str = NEWEST.requested.name,
        partition: int | None = None,
        most_bytes: int | None = None,
    ) -> None:
        """Return once the broker has acknowledged; else raise `TooLarge`, `Unavailable` or `OutcomeUnknown`."""
        value = request.encode()
        if most_bytes is not None and len(value) > most_bytes:
            raise TooLarge(f"the run has {len(value)} bytes, and this workspace's may have {most_bytes}")
        if len(value) > MAX_VALUE_BYTES:  # a body can grow when it is written anew (1e9 → 1000000000.0)
            raise TooLarge(f"the body is over the limit of {MAX_BODY_BYTES} bytes")
        try:
            with TRACING.span(f"publish {topic}", "producer") as span, PUBLISH_SECONDS.time():
                name_run(span, request.run_id, request.workspace_id, request.provider, request.model)
                headers = [*request.headers(), (GRANT_HEADER, grant.encode()), *record_headers()]
                await self._publisher.send(
                    topic, value, key=request.run_id.bytes, headers=headers, partition=partition, timeout=self._seconds
                )
        except OutcomeUnknown as error:
            error.run_id = str(request.run_id)
            raise


class CompletedLog:
    """Appends completions again that analytics had set aside. Stored twice, one is still counted once."""

    def __init__(self, publisher: Publisher, publish_seconds: float) -> None:
        self._publisher = publisher
        self._seconds = publish_seconds

    async def append(
        self, value: bytes, key: bytes | None, headers: list[tuple[str, bytes]], topic: str, partition: int
    ) -> None:
        """Return once the broker has acknowledged; else raise `Unavailable` or `OutcomeUnknown`."""
        await self._publisher.send(topic, value, key=key, headers=headers, partition=partition, timeout=self._seconds)


class CancelledLog:
    """Tells every runner of batches that are cancelled."""

    def __init__(self, publisher: Publisher, publish_seconds: float) -> None:
        self._publisher = publisher
        self._seconds = publish_seconds

    async def append(self, batch_id: str, workspace_id: UUID, cancelled_at: int) -> None:
        """Return once the broker has acknowledged; else raise `Unavailable`. It does no harm to say it again."""
        said = BatchCancelled(batch_id=batch_id, workspace_id=workspace_id, cancelled_at=cancelled_at)
        await self._publisher.send(
            BATCHES_CANCELLED.name, said.encode(), key=said.subject, headers=said.headers(), timeout=self._seconds
        )
