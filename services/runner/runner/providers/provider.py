"""What can be asked of a provider, whatever its wire format."""

from typing import Any, Protocol

from pydantic import SecretStr

from common.contracts.runs_v1 import Operation
from runner.providers.answer import Answer, Hearing
from runner.providers.batching import ProviderBatches


class Provider(Protocol):
    """One provider. It never retries; one connection pool serves every key."""

    @property
    def batches(self) -> ProviderBatches:
        """Its own batches."""
        ...

    async def call(
        self, operation: Operation, body: dict[str, Any], secret: SecretStr, timeout_seconds: float
    ) -> Answer:
        """Send the body verbatim and return the answer, or raise `CallFailed`; within the time given."""
        ...

    async def stream(
        self, operation: Operation, body: dict[str, Any], secret: SecretStr, timeout_seconds: float, hearing: Hearing
    ) -> Answer:
        """Do what `call` does for a body that asks for a stream, and let it be heard as it comes."""
        ...

    async def check(self, secret: SecretStr) -> bool:
        """Return whether the key was verified (False: the provider lists no models), or raise `CallFailed`."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
