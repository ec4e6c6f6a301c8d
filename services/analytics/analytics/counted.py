"""How far the figures go: stored is what was read, counted is what the rollups hold of it."""

from collections.abc import Callable
from uuid import UUID

from analytics.database import Database


class Counted:
    """`stored` tells how far the topics are stored, in UTC ms."""

    def __init__(self, database: Database, stored: Callable[[], int]) -> None:
        self._database = database
        self._stored = stored

    async def up_to(self, workspace: UUID) -> int:
        """Everything appended before this time (UTC ms) is not only stored but counted; 0 if that is not known."""
        stored = self._stored()
        [row] = await self._database.rows("uncounted", workspace=workspace)
        return min(stored, row["since"] or stored)
