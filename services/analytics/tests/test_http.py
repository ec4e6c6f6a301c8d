"""The database over HTTP, as in production; most other tests have the engine in their process."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import pytest

from analytics.clickhouse import ClickHouse
from analytics.database import BadDataError
from analytics.ingest import RUNS, Ingest
from analytics.overview import Overviews
from analytics.runs import Runs
from analytics.sealer import Sealer
from common.admission import Admission
from common.contracts.runs_v1 import RunCompleted
from common.contracts.topics import DAY_MS
from common.errors import Unavailable
from common.identity import Verifier
from common.ids import new_id, now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]

WORKSPACES = 450
"""With all 24 hours of each one's day, more than a server takes in bound parameters (128 KiB) or in a URL (1 MiB)."""


class AllRead:
    async def passes(self, time: int, within: float) -> bool:
        return True


async def test_a_run_is_stored_counted_and_shown(
    remote: ClickHouse, verifier: Verifier, completed: Make, as_record: AsRecord, workspace: UUID
) -> None:
    run = completed(output='"quotes"\n\\ and 😀', prompt_id="it's", labels={"a'b": "\\"})
    assert await Ingest(remote, Admission(verifier)).store([as_record(run)]) == []
    assert await Sealer(remote, lambda: True).seal() == 1

    seen = await Runs(remote, AllRead()).detail(workspace, run.run_id, None)
    answer = await Overviews(remote, now_ms).overview(workspace, "7d")

    assert (seen.output, seen.prompt_id, seen.labels, seen.cost) == (run.output, "it's", run.labels, Decimal("0.001"))
    assert (answer.overview.total_runs, answer.overview.total_cost) == (1, Decimal("0.001"))
    assert [row.prompt_id for row in answer.expensive_prompts] == ["it's"]


async def test_a_seal_of_many_workspaces_fits_into_a_request(
    remote: ClickHouse, verifier: Verifier, completed: Make, as_record: AsRecord
) -> None:
    now = now_ms()
    runs = [completed(workspace_id=new_id(), accepted_at=now - n % 40 * DAY_MS) for n in range(WORKSPACES)]
    await Ingest(remote, Admission(verifier)).store([as_record(run) for run in runs])
    sealer = Sealer(remote, lambda: True)
    assert [await sealer.seal(), await sealer.seal()] == [WORKSPACES, 0]


@pytest.mark.parametrize(
    ("was", "becomes", "kind"),
    [
        (b'"succeeded"', b'"triumphant"', "UNKNOWN_ELEMENT_OF_ENUM"),
        (b'"input":10', b'"input":-10', "CANNOT_PARSE"),
        (b'"0.001"', b'"-0.001"', "VIOLATED_CONSTRAINT"),
        (b'"0.001"', b'"1e25"', "ARGUMENT_OUT_OF_BOUND"),
    ],
)
async def test_errors_keep_their_names(
    remote: ClickHouse, completed: Make, was: bytes, becomes: bytes, kind: str
) -> None:
    with pytest.raises(BadDataError, match=kind):
        await remote.insert(RUNS, [completed().encode().replace(was, becomes)])


async def test_a_table_that_is_missing_is_not_the_rows_fault(remote: ClickHouse, completed: Make) -> None:
    with pytest.raises(Unavailable, match="UNKNOWN_TABLE"):
        await remote.insert(RUNS._replace(name="no_such_table"), [completed().encode()])


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = ClickHouse("http://127.0.0.1:1", "none")
    with pytest.raises(Unavailable):
        await database.rows("alive")
    await database.close()
