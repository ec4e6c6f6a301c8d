"""From a rejected record to a counted run: set aside, listed, tried without effect, replayed once."""

import asyncio
import uuid
from typing import Any

from tests.stack import Client, Simulator, Stack, until

from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import DAY_MS, REQUESTED
from common.identity import Signer
from common.ids import new_id, now_ms
from common.kafka import Publisher


def test_a_rejected_run_is_replayed_and_counted_once(
    stack: Stack, admin: Client, client: Client, simulator: Simulator, unique: str
) -> None:
    workspace = uuid.UUID(client.call("GET", "/api/workspaces").data[0]["id"])
    run = asyncio.run(published_with_a_foreign_grant(stack, workspace, unique))
    until(lambda: listed(admin, workspace) != [], "the record is set aside")
    (record,) = listed(admin, workspace)
    assert (record["runId"], record["service"]) == (str(run.run_id), "runner")
    assert record["reason"] == "grant: it is for another workspace"
    assert unique not in str(record)
    assert client.call("GET", "/api/rejected").status == 403

    simulator.forget()
    assert replayed(admin, workspace, dryRun=True) == ["replayed"]
    assert replayed(admin, workspace) == ["replayed"]
    ended = client.ended(str(run.run_id))
    assert (ended["status"], ended["model"], ended["user"]) == ("succeeded", "gpt-4.1", "nightly")
    assert replayed(admin, workspace) == ["already_replayed"]
    totals = client.counted()["overview"]
    assert (totals["totalRuns"], totals["totalCost"], totals["repeatedExecutions"]) == (1, ended["cost"], 0)
    assert simulator.calls()["total"] == 1


def listed(admin: Client, workspace: uuid.UUID) -> list[Any]:
    """Return the workspace's rejected records."""
    records: list[Any] = admin.call("GET", f"/api/rejected?workspaceId={workspace}").data["records"]
    return records


def replayed(admin: Client, workspace: uuid.UUID, **asked: bool) -> list[str]:
    """Replay the workspace's rejected records; return what became of each."""
    answer = admin.call("POST", "/api/rejected/replay", {"workspaceId": str(workspace), **asked})
    return [record["outcome"] for record in answer.data["records"]]


async def published_with_a_foreign_grant(stack: Stack, workspace: uuid.UUID, text: str) -> RunRequested:
    """Publish a run as an internal service would that took the grant of another workspace by mistake."""
    signer = Signer.load("gateway", stack.home / "identity" / "gateway")
    grant = signer.grant(uuid.uuid4(), ("openai",), 2**31).encode()
    publisher, now = Publisher(stack.kafka), now_ms()
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": text}]}
    run = RunRequested(
        run_id=new_id(), workspace_id=workspace, user="nightly", operation="chat", provider="openai", model="gpt-4.1",
        body=body, deadline=now + DAY_MS, publish_by=now + 60_000, accepted_at=now,
    )  # fmt: skip
    await publisher.start()
    headers = [*run.headers(), (GRANT_HEADER, grant)]
    await publisher.send(REQUESTED.name, run.encode(), key=run.run_id.bytes, headers=headers)
    await publisher.close()
    return run
