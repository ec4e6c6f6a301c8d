"""The list of provider keys: what the vault knows of them, and what their runs tell."""

import logging
from datetime import datetime
from typing import Protocol
from uuid import UUID

from common.contracts.answers_v1 import Answer, UsageCount
from common.contracts.credentials_v1 import KeyHistory, KeyState, KeyVersion, KeyView
from common.errors import Unavailable
from gateway.moment import moment, moment_or_none

log = logging.getLogger(__name__)


class KeyAnswer(Answer):
    """A key as its owners see it. While analytics is away `usage_count` and `last_used_at` are null: not known."""

    id: UUID
    provider: str
    name: str
    preview: str
    is_active: bool
    verified: bool
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    last_used_at: str | None
    usage_count: int | None


class VersionAnswer(Answer):
    """One secret of a key. The retired ones are wiped; a pending one is being checked."""

    version: int
    preview: str
    state: str
    verified: bool
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    expires_at: datetime | None


class HistoryAnswer(KeyAnswer):
    """A key with every version that it had, the oldest first."""

    versions: list[VersionAnswer]


class KeyShelf(Protocol):
    """The vault, as far as listing goes."""

    async def keys(self, workspace_id: UUID) -> list[KeyView]:
        """Return the workspace's keys, inactive ones too."""

    async def history(self, workspace_id: UUID, key_id: UUID) -> KeyHistory:
        """Return a key with all its versions; raise `NotFound`."""


class Usage(Protocol):
    """Analytics, as far as listing goes."""

    async def key_usage(self, workspace_id: UUID) -> dict[str, UsageCount]:
        """Return how often each key was used, by key id."""


async def listed(vault: KeyShelf, analytics: Usage, workspace_id: UUID) -> list[KeyAnswer]:
    """Return the workspace's keys with their use."""
    keys = await vault.keys(workspace_id)
    usage = await _usage(analytics, workspace_id)
    return [_answer(key, usage) for key in keys]


async def history(vault: KeyShelf, analytics: Usage, workspace_id: UUID, key_id: UUID) -> HistoryAnswer:
    """Return one key with its use and its versions; raise `NotFound`."""
    found = await vault.history(workspace_id, key_id)
    key = _answer(found.key, await _usage(analytics, workspace_id))
    return HistoryAnswer(**dict(key), versions=[_version(version) for version in found.versions])


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
        state=key.state,
        created_at=moment(key.created_at),
        expires_at=moment_or_none(key.expires_at),
        last_used_at=used.last_used_at if used else None,
        usage_count=used.usage_count if used else never,
    )


def _version(version: KeyVersion) -> VersionAnswer:
    return VersionAnswer(
        version=version.version,
        preview=version.preview,
        state=version.state,
        verified=version.verified,
        created_at=moment(version.created_at),
        activated_at=moment_or_none(version.activated_at),
        retired_at=moment_or_none(version.retired_at),
        expires_at=moment_or_none(version.expires_at),
    )
