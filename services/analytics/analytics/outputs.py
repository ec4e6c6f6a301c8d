"""How long a model's answers are in one workspace: what a quote rests on."""

from uuid import UUID

from analytics.database import Database
from common.contracts.answers_v1 import OutputTokens


async def output_tokens(database: Database, workspace: UUID, provider: str, model: str) -> OutputTokens:
    """Return what the last 10,000 answers of the model took."""
    (row,) = await database.rows("output_tokens", workspace=workspace, provider=provider, model=model)
    return OutputTokens(**row)
