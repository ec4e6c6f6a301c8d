"""How much of the product is used: what analytics counts, and the keys that the vault holds."""

import asyncio
import logging
from collections import Counter
from typing import Protocol
from uuid import UUID

from common.contracts.answers_v1 import Period
from common.contracts.credentials_v1 import KeyView
from common.contracts.product_v1 import KeysConnected, Product, ProductUse
from common.errors import Unavailable

log = logging.getLogger(__name__)


class KeyShelf(Protocol):
    """The vault, as far as counting goes."""

    async def keys(self, workspace_id: UUID) -> list[KeyView]:
        """Return the workspace's keys, inactive ones too."""


class Use(Protocol):
    """Analytics, as far as use of the product goes."""

    async def product(self, workspace_id: UUID, period: Period) -> ProductUse:
        """Return how much the period's runs used of the product."""


async def product(vault: KeyShelf, analytics: Use, workspace_id: UUID, period: Period) -> Product:
    """Return both."""
    use, keys = await asyncio.gather(analytics.product(workspace_id, period), _keys(vault, workspace_id))
    return Product(**dict(use), keys_connected=keys)


async def _keys(vault: KeyShelf, workspace_id: UUID) -> KeysConnected | None:
    """Return None while the vault is away: the rest is worth an answer."""
    try:
        providers = Counter(key.provider for key in await vault.keys(workspace_id) if key.is_active)
    except Unavailable as error:
        log.warning("use is told without the keys", extra={"error": error.message})
        return None
    return KeysConnected(total=providers.total(), by_provider=dict(sorted(providers.items())))
