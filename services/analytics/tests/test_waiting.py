"""What waits is what was accepted and has not ended; batches and what is past its deadline apart."""

from collections.abc import Callable
from uuid import UUID

import pytest

from analytics.clickhouse import ClickHouse
from analytics.ingest import Ingest
from analytics.waiting import WaitingRuns
from common.admission import Admission
from common.contracts.runs_v1 import RunCompleted, RunRequested
from common.contracts.topics import DAY_MS, REQUESTED
from common.identity import Verifier
from common.ids import now_ms
from common.kafka import Record

AsRecord = Callable[..., Record]
Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]


@pytest.mark.parametrize("delivered", [1, 2])
async def test_waiting_runs_are_counted(
    database: ClickHouse, verifier: Verifier, requested: Request, completed: Make, as_record: AsRecord,
    workspace: UUID, delivered: int,
) -> None:  # fmt: skip
    now = now_ms()
    lasting = {"accepted_at": now, "deadline": now + DAY_MS}
    waits = [requested(**lasting) for _ in range(3)]
    ended = requested(**lasting)
    others = [
        requested(**lasting, batch_id="b"),
        requested(accepted_at=now - 60_000, deadline=now - 1, publish_by=now + 10_000),
    ]
    end = completed(run_id=ended.run_id, accepted_at=now)
    records = [*(as_record(event, REQUESTED.name) for event in (*waits, ended, *others)), as_record(end)]
    for _ in range(delivered):
        assert await Ingest(database, Admission(verifier)).store(records) == []
    told = await WaitingRuns(database, lambda: now).count(workspace)
    assert (told.runs, told.read_up_to) == (3, now)
