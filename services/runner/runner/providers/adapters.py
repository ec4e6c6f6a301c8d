"""The adapter of each provider, loaded when it is first called.

To load an SDK takes 1.5 (OpenAI's) or 3 (Anthropic's) seconds of CPU, and 50 or 76 MB: a runner pays for what it calls.
"""

import asyncio
from collections.abc import Iterable, Iterator

from common.errors import ProviderRejected
from common.providers import ProviderSpec
from runner.providers.provider import Provider


def provider_for(spec: ProviderSpec) -> Provider:
    """Return the adapter of the provider's wire format. Nothing is connected yet."""
    match spec.wire:
        case "anthropic":
            from runner.providers.anthropic import AnthropicProvider  # noqa: PLC0415 - see above

            return AnthropicProvider(spec)
        case "openai":
            from runner.providers.openai import OpenAIProvider  # noqa: PLC0415 - see above

            return OpenAIProvider(spec)


class Adapters:
    """The adapters of the providers that are configured."""

    def __init__(self, specs: Iterable[ProviderSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._made: dict[str, Provider] = {}
        self._making = asyncio.Lock()

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    async def of(self, name: str) -> Provider:
        """Return a provider's adapter, or raise `ProviderRejected` if there is none of that name."""
        if name not in self._specs:
            raise ProviderRejected(f"provider '{name}' is not configured; known: {', '.join(sorted(self._specs))}")
        if name not in self._made:
            await self._make(name)
        return self._made[name]

    async def _make(self, name: str) -> None:
        """Load it in a thread: heartbeats and other providers' calls go on meanwhile."""
        async with self._making:
            if name not in self._made:
                self._made[name] = await asyncio.to_thread(provider_for, self._specs[name])

    async def close(self) -> None:
        """Close the connections of those that were called."""
        for provider in self._made.values():
            await provider.close()
