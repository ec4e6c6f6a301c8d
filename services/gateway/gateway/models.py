"""Which provider a model's name means in a workspace: `provider/model`, or a bare name that only one of them has."""

import time
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from common import catalogue
from common.contracts.credentials_v1 import KeyView
from common.errors import AmbiguousModel, NotFound, UnknownModel
from common.providers import Providers, ProviderSpec

CACHE_SECONDS = 5.0
"""A key that was just connected is known to bare names after this time at the latest."""

REMEMBERED = 10_000
SHOWN_CHARACTERS = 100


class KeyShelf(Protocol):
    """The vault, as far as models go."""

    async def keys(self, workspace_id: UUID) -> list[KeyView]:
        """Return the workspace's keys, inactive ones too."""


@dataclass(frozen=True)
class Resolved:
    """A provider, and what it calls the model."""

    spec: ProviderSpec
    model: str


class Models:
    """Resolves the names of models."""

    def __init__(self, vault: KeyShelf, providers: Providers) -> None:
        self._vault = vault
        self._providers = providers
        self._cache: dict[UUID, tuple[list[ProviderSpec], float]] = {}

    async def resolve(self, workspace_id: UUID, name: str) -> Resolved:
        """Return what the name means; raise `UnknownModel` or `AmbiguousModel`, which say what to write."""
        prefix, slash, model = name.partition("/")
        if slash and model and prefix in self._providers.names():
            return Resolved(self._providers.find(prefix), model)
        connected = await self.connected(workspace_id)
        match [spec for spec in connected if spec.catalogue and catalogue.knows(spec.catalogue, name)]:
            case [spec]:
                return Resolved(spec, name)
            case []:
                raise UnknownModel(_unknown(name, connected), param="model")
            case several:
                choices = " or ".join(f"'{spec.name}/{_shown(name)}'" for spec in several)
                raise AmbiguousModel(f"model: several connected providers have it; write {choices}", param="model")

    async def find(self, workspace_id: UUID, name: str) -> Resolved:
        """Return what the name means; raise `NotFound` unless a connected provider has it, as far as is known."""
        try:
            found = await self.resolve(workspace_id, name)
        except (UnknownModel, AmbiguousModel) as error:
            raise NotFound(error.message, param="model") from None
        known = found.spec.catalogue is None or catalogue.knows(found.spec.catalogue, found.model)
        if not known or found.spec not in await self.connected(workspace_id):
            raise NotFound(f"model: '{_shown(name)}' is of no connected provider's catalogue", param="model")
        return found

    async def connected(self, workspace_id: UUID) -> list[ProviderSpec]:
        """Return the known providers that the workspace has an active key for, sorted by name."""
        found, until = self._cache.get(workspace_id, ([], 0.0))
        if time.monotonic() < until:
            return found
        active = {key.provider for key in await self._vault.keys(workspace_id) if key.is_active}
        found = [self._providers.find(name) for name in self._providers.names() if name in active]
        if len(self._cache) >= REMEMBERED:
            self._cache.clear()
        self._cache[workspace_id] = found, time.monotonic() + CACHE_SECONDS
        return found

    async def listed(self, workspace_id: UUID) -> list[Resolved]:
        """Return every model that the catalogue knows of the connected providers."""
        connected = await self.connected(workspace_id)
        return [
            Resolved(spec, model)
            for spec in connected
            if spec.catalogue
            for model in catalogue.models_of(spec.catalogue)
        ]


def _unknown(name: str, connected: list[ProviderSpec]) -> str:
    if not connected:
        return "model: no provider is connected; an admin connects one with POST /api/integrations/connect"
    known = ", ".join(f"'{spec.name}'" for spec in connected)
    return f"model: '{_shown(name)}' is in no catalogue of {known}; write 'provider/model' to name the provider"


def _shown(name: str) -> str:
    return name[:SHOWN_CHARACTERS]
