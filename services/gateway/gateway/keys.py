"""The list of provider keys: what the vault knows of them, and what their runs tell."""

import logging
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from common.contracts.answers_v1 import Answer, UsageCount
from common.contracts.credentials_v1 import KeyView
from common.errors import Unavailable

log = logging.getLogger(__name__)


class KeyAnswer(Answer):
    """A key as its owners see it. While analytics is away `usage_count` and `last_used_at` are null: not known."""

    id: UUID
    provider: str
    name: str
    preview: str
    is_active: bool
    verified: bool
    created_at: datetime
    last_used_at: str | None
    usage_count: int | None


class KeyShelf(Protocol):
    """The vault, as far as listing goes."""

    async def keys(self, workspace_id: UUID) -> list[KeyView]:
        """Return the workspace's keys, inactive ones too."""


class Usage(Protocol):
    """Analytics, as far as listing goes."""

    async def key_usage(self, workspace_id: UUID) -> dict[str, UsageCount]:
        """Return how often each key was used, by key id."""


async def listed(vault: KeyShelf, analytics: Usage, workspace_id: UUID) -> list[KeyAnswer]:
    """Return the workspace's keys with their use."""
    keys = await vault.keys(workspace_id)
    usage = await _usage(analytics, workspace_id)
    return [_answer(key, usage) for key in keys]


async def _usage(analytics: Usage, workspace_id: UUID) -> dict[str, UsageCount] | None:
    """Return None while analytics is away: the keys themselves are worth an answer."""
    try:
        return await analytics.key_usage(workspace_id)
    except Unavailable as error:
        log.warning("keys are listed without their use", extra={"error": error.message})
        return None


def _answer(key: KeyView, usage: dict[str, UsageCount] | None) -> KeyAnswer:
    used = (usage or {}).get(str(key.id))
    never = None if usage is None else 0
    return KeyAnswer(
        id=key.id,
        provider=key.provider,
        name=key.name,
        preview=key.preview,
        is_active=key.is_active,
        verified=key.verified,
        created_at=datetime.fromtimestamp(key.created_at / 1000, UTC),
        last_used_at=used.last_used_at if used else None,
        usage_count=used.usage_count if used else never,
    )
