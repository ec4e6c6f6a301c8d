from collections.abc import Callable
from uuid import UUID

from analytics.clickhouse import ClickHouse
from analytics.ingest import Ingest
from analytics.outputs import output_tokens
from common.contracts.answers_v1 import OutputTokens
from common.contracts.runs_v1 import RunCompleted, Usage
from common.kafka import Record

Make = Callable[..., RunCompleted]
AsRecord = Callable[..., Record]


async def test_the_answers_of_one_model_in_one_workspace(
    database: ClickHouse, ingest: Ingest, completed: Make, as_record: AsRecord, workspace: UUID
) -> None:
    answers = [completed(usage=Usage(input=1, output=tokens)) for tokens in (10, 20, 30, 100)]
    others = [
        completed(usage=Usage(output=900), status="failed"),
        completed(usage=Usage(output=900), model="gpt-4o"),
        completed(usage=Usage(output=900), provider="anthropic"),
        completed(usage=Usage(output=900), workspace_id=UUID(int=7)),
    ]
    await ingest.store([as_record(run) for run in (*answers, *others)])
    found = await output_tokens(database, workspace, "openai", "gpt-4o-mini")
    assert (found.runs, found.mean, found.lower, found.upper) == (4, 40, 20, 100)


async def test_a_model_that_never_answered(database: ClickHouse, workspace: UUID) -> None:
    assert await output_tokens(database, workspace, "openai", "gpt-4o") == OutputTokens(
        runs=0, mean=0, lower=0, upper=0
    )
