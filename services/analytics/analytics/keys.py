"""How often each provider key was used: what the vault does not know."""

from uuid import UUID

from analytics.database import Database
from analytics.hours import iso
from common.contracts.answers_v1 import UsageCount


async def key_usage(database: Database, workspace: UUID) -> list[UsageCount]:
    """Return every key that a counted run of the workspace used, the most used first."""
    rows = await database.rows("key_usage", workspace=workspace)
    return [
        UsageCount(key_id=str(row["key_id"]), usage_count=row["usage_count"], last_used_at=iso(row["last_used_at"]))
        for row in rows
    ]
