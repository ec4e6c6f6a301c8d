"""Grants: the proof, in every run's header, that the gateway lets it use a workspace's keys."""

from uuid import UUID

from common.identity import CHECKS, PROVIDER_BATCHES, Signer

MARGIN_SECONDS = 600
"""A grant outlives the run's deadline by this: the last attempt may start at the deadline."""

RENEW_SECONDS = 60
"""One grant serves all runs of about a minute, so that the runners' leases are found in their caches."""

REMEMBERED = 4096


class Grants:
    """Signs grants, and reuses them among runs of one workspace, provider and lifetime."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._current: dict[tuple[UUID, str, int], tuple[str, int]] = {}

    def shared(self, workspace_id: UUID, provider: str, deadline: int, lifetime_ms: int) -> str:
        """Return a grant that covers a run until `deadline` (UTC ms); runs of one lifetime share it."""
        group = workspace_id, provider, lifetime_ms
        token, expires_at = self._current.get(group, ("", 0))
        if expires_at < _needed(deadline):
            expires_at = _needed(deadline) + RENEW_SECONDS
            token = self._signer.grant(workspace_id, (provider,), expires_at)
            self._remember(group, token, expires_at)
        return token

    def for_key(self, workspace_id: UUID, provider: str, deadline: int, key_id: UUID) -> str:
        """Return a grant to check this key alone, and for nothing else."""
        return self._signer.grant(workspace_id, (provider,), _needed(deadline), key_id, operations=CHECKS)

    def for_batches(self, workspace_id: UUID, provider: str, deadline: int) -> str:
        """Return a grant for an order about the provider's own batches, and for no run."""
        return self._signer.grant(workspace_id, (provider,), _needed(deadline), operations=PROVIDER_BATCHES)

    def _remember(self, group: tuple[UUID, str, int], token: str, expires_at: int) -> None:
        if len(self._current) >= REMEMBERED:
            self._current.clear()
        self._current[group] = token, expires_at


def _needed(deadline: int) -> int:
    """Return when a grant may end at the earliest, in Unix seconds."""
    return -(-deadline // 1000) + MARGIN_SECONDS
