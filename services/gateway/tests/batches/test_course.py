"""The way of a batch, from its submission to its files."""

from services.gateway.tests.batches.conftest import Caller, PlayedLog, row


async def test_every_row_is_run_once_and_stands_in_the_output(caller: Caller, log: PlayedLog) -> None:
    batch = await caller.submit([row(n) for n in range(500)])
    told = await caller.ended(batch)
    assert (told["state"], told["succeeded"], told["failed"], told["fed"]) == ("completed", 500, 0, 500)
    lines = await caller.lines(told["outputFileId"])
    assert {line["custom_id"] for line in lines} == {f"row-{n}" for n in range(500)}
    assert len(lines) == len(log.requests) == 500
    assert told["errorFileId"] is None
