"""A batch with what can be done about it: as it was last heard of, and the client that asks."""

from collections.abc import AsyncIterator, Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from pydantic import ConfigDict, PrivateAttr

from tallyrun.batches import Again, BatchStatus, Only
from tallyrun.results import Result

if TYPE_CHECKING:
    from tallyrun.async_client import AsyncClient
    from tallyrun.client import Client

POLL_SECONDS = 1.0


class _Handle(BatchStatus):
    model_config = ConfigDict(frozen=False)

    attached: bool = False
    """Whether it existed before it was submitted."""

    def _become(self, status: BatchStatus) -> Self:
        for name in BatchStatus.model_fields:
            setattr(self, name, getattr(status, name))
        return self


class Batch(_Handle):
    """A batch of a `Client`: its fields are those of the last answer."""

    _client: "Client" = PrivateAttr()

    def __init__(self, client: "Client", **fields: Any) -> None:
        super().__init__(**fields)
        self._client = client

    def refresh(self) -> Self:
        """Ask how it stands."""
        return self._become(self._client.get(self.id))

    def watch(self, *, every: float = POLL_SECONDS) -> Iterator[BatchStatus]:
        """Yield how it stands, every so many seconds until it has ended."""
        for status in self._client.watch(self.id, every=every):
            self._become(status)
            yield status

    def wait(self, *, every: float = POLL_SECONDS) -> Self:
        """Return once it has ended."""
        return self._become(self._client.wait(self.id, every=every))

    def results(
        self, *, only: Only | None = None, include_inputs: bool = False, follow: bool = False
    ) -> Iterator[Result]:
        """Yield how the rows ended; to `follow` is to stay until all have."""
        return self._client.results(self.id, only=only, include_inputs=include_inputs, follow=follow)

    def retry(self, *, only: Again | Iterable[Again] | None = None, max_cost: Decimal | float | None = None) -> "Batch":
        """Run the rows that did not succeed again, as a batch of their own."""
        return self._client.retry(self.id, only=only, max_cost=max_cost)

    def cancel(self) -> Self:
        """Stop it: what was not called ends as cancelled, calls in flight finish."""
        return self._become(self._client.cancel(self.id))


class AsyncBatch(_Handle):
    """A batch of an `AsyncClient`: its fields are those of the last answer."""

    _client: "AsyncClient" = PrivateAttr()

    def __init__(self, client: "AsyncClient", **fields: Any) -> None:
        super().__init__(**fields)
        self._client = client

    async def refresh(self) -> Self:
        """Ask how it stands."""
        return self._become(await self._client.get(self.id))

    async def watch(self, *, every: float = POLL_SECONDS) -> AsyncIterator[BatchStatus]:
        """Yield how it stands, every so many seconds until it has ended."""
        async for status in self._client.watch(self.id, every=every):
            self._become(status)
            yield status

    async def wait(self, *, every: float = POLL_SECONDS) -> Self:
        """Return once it has ended."""
        return self._become(await self._client.wait(self.id, every=every))

    def results(
        self, *, only: Only | None = None, include_inputs: bool = False, follow: bool = False
    ) -> AsyncIterator[Result]:
        """Yield how the rows ended; to `follow` is to stay until all have."""
        return self._client.results(self.id, only=only, include_inputs=include_inputs, follow=follow)

    async def retry(
        self, *, only: Again | Iterable[Again] | None = None, max_cost: Decimal | float | None = None
    ) -> "AsyncBatch":
        """Run the rows that did not succeed again, as a batch of their own."""
        return await self._client.retry(self.id, only=only, max_cost=max_cost)

    async def cancel(self) -> Self:
        """Stop it: what was not called ends as cancelled, calls in flight finish."""
        return self._become(await self._client.cancel(self.id))
