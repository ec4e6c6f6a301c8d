"""The vault, over HTTP."""

from uuid import UUID

from pydantic import TypeAdapter

from common.contracts.credentials_v1 import Activate, KeyHistory, KeyView, SavedKey, SaveKey
from common.http import ServiceClient

_KEYS = TypeAdapter(list[KeyView])


class Vault:
    """Keeps the workspaces' provider keys."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def save(self, workspace_id: UUID, key: SaveKey) -> SavedKey:
        """Save a key version that waits to be checked."""
        path = f"/workspaces/{workspace_id}/keys"
        return SavedKey.model_validate_json(await self._client.call("POST", path, body=key.model_dump_json().encode()))

    async def activate(self, workspace_id: UUID, saved: SavedKey, decision: Activate) -> None:
        """Let runs use it; raise `Conflict` where a newer version took its place."""
        path = f"{_version(workspace_id, saved)}/activate"
        await self._client.call("POST", path, body=decision.model_dump_json().encode())

    async def erase(self, workspace_id: UUID, saved: SavedKey) -> None:
        """Forget a version that was never activated."""
        await self._client.call("DELETE", _version(workspace_id, saved))

    async def keys(self, workspace_id: UUID) -> list[KeyView]:
        """Return the workspace's keys, inactive ones too."""
        return _KEYS.validate_json(await self._client.call("GET", f"/workspaces/{workspace_id}/keys"))

    async def history(self, workspace_id: UUID, key_id: UUID) -> KeyHistory:
        """Return a key with all its versions; raise `NotFound`."""
        return KeyHistory.model_validate_json(
            await self._client.call("GET", f"/workspaces/{workspace_id}/keys/{key_id}")
        )

    async def deactivate(self, workspace_id: UUID, key_id: UUID, actor: str) -> None:
        """Stop every use of the key; raise `NotFound`."""
        await self._client.call("DELETE", f"/workspaces/{workspace_id}/keys/{key_id}", params={"actor": actor})

    async def revoke(self, workspace_id: UUID, grant_id: UUID, actor: str) -> None:
        """Honour the grant no more, and have every runner told."""
        await self._client.call("DELETE", f"/workspaces/{workspace_id}/grants/{grant_id}", params={"actor": actor})


def _version(workspace_id: UUID, saved: SavedKey) -> str:
    return f"/workspaces/{workspace_id}/keys/{saved.key_id}/versions/{saved.version}"
