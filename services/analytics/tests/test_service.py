import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from analytics.hours import iso
from common.contracts.event import Event
from common.contracts.runs_v1 import Cost, RunCompleted, RunRequested
from common.contracts.topics import COMPLETED, REJECTED, REQUESTED
from common.identity import Signer
from common.ids import new_id, now_ms
from common.kafka import Publisher

Make = Callable[..., RunCompleted]
Request = Callable[..., RunRequested]
Start = Callable[[str], AbstractAsyncContextManager[httpx2.AsyncClient]]

Publish = Callable[..., Awaitable[None]]
WITHIN = 20
"""Seconds: generous, since a fresh group reads what every test before it published."""


@pytest.fixture
def publish(publisher: Publisher, grant: tuple[str, bytes]) -> Publish:
    async def publish(*events: Event, topic: str = COMPLETED.name, value: bytes | None = None) -> None:
        async def send(event: Event) -> None:
            headers = [*event.headers(), grant]
            await publisher.send(topic, value or event.encode(), key=str(new_id()).encode(), headers=headers)

        await asyncio.gather(*(send(event) for event in events))

    return publish


async def _overview(client: httpx2.AsyncClient, workspace: UUID) -> dict[str, Any]:
    answer = await client.get(f"/workspaces/{workspace}/overview", params={"period": "7d"})
    data: dict[str, Any] = json.loads(answer.raise_for_status().content, parse_float=Decimal)["data"]
    return data


async def _until(
    client: httpx2.AsyncClient, workspace: UUID, reached: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    async with asyncio.timeout(WITHIN):
        while True:
            answer = await _overview(client, workspace)
            if reached(answer):
                return answer
            await asyncio.sleep(0.05)


async def _until_runs(client: httpx2.AsyncClient, workspace: UUID, runs: int) -> dict[str, Any]:
    return await _until(client, workspace, lambda answer: bool(answer["overview"]["totalRuns"] == runs))


async def _until_counted(client: httpx2.AsyncClient, workspace: UUID) -> dict[str, Any]:
    """Return an overview in which everything appended before this call is counted."""
    now = iso(now_ms())
    return await _until(client, workspace, lambda answer: bool((answer["readUpTo"] or "") > now))


def _figures(answer: dict[str, Any]) -> dict[str, Any]:
    """Return all of it but how far the log was read by then."""
    completeness = {name: part for name, part in answer["completeness"].items() if not name.endswith("UpTo")}
    return {**answer, "readUpTo": None, "completeness": completeness}


async def _delivered(kafka: str, group: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        return sum(commit.offset for commit in (await admin.list_consumer_group_offsets(group)).values())
    finally:
        await admin.close()


async def test_a_completed_run_shows_and_money_is_exact(
    start: Start, group: str, publish: Publish, completed: Make, workspace: UUID
) -> None:
    runs = [completed(cost=Cost(priced=True, total=Decimal(n) / 10**9 + Decimal("1e-18"))) for n in range(50)]
    async with start(group) as client:
        await publish(*runs)
        answer = await _until_runs(client, workspace, 50)
    expected = sum((run.cost.total or Decimal(0) for run in runs), Decimal(0))
    assert Decimal(str(answer["overview"]["totalCost"])) == expected
    assert answer["overview"]["successRate"] == 100


async def test_redelivery_of_the_whole_topic_changes_no_total(
    start: Start, group: str, kafka: str, publish: Publish, completed: Make, workspace: UUID
) -> None:
    runs = [completed(model=f"m{n % 3}", prompt_id=f"p{n % 4}") for n in range(60)]
    again = runs[0].model_copy(update={"execution_id": new_id(), "completed_at": runs[0].completed_at + 5})
    async with start(group) as client:
        await publish(*runs, again)
        before = await _until_counted(client, workspace)
    delivered = await _delivered(kafka, group)

    fresh = f"{group}-again"  # a group without offsets reads everything from the beginning, into the same database
    async with start(fresh) as client:
        async with asyncio.timeout(WITHIN):
            while await _delivered(kafka, fresh) < delivered:
                await asyncio.sleep(0.05)
        after = await _until_counted(client, workspace)

    assert _figures(after) == _figures(before)
    assert before["overview"]["totalRuns"] == 60
    assert before["overview"]["repeatedExecutions"] == 1


async def test_a_restart_keeps_the_data_and_goes_on_where_it_was(
    start: Start, group: str, kafka: str, publish: Publish, completed: Make, workspace: UUID
) -> None:
    async with start(group) as client:
        await publish(*[completed() for _ in range(5)])
        await _until_runs(client, workspace, 5)
    await publish(*[completed() for _ in range(5)])
    async with start(group) as client:
        assert (await _overview(client, workspace))["overview"]["totalRuns"] >= 5
        await _until_runs(client, workspace, 10)


async def test_hostile_records_are_set_aside_without_their_grant(
    start: Start, group: str, kafka: str, publish: Publish, completed: Make, workspace: UUID
) -> None:
    run = completed()
    malformed, refused = b'{"no": "run"}', run.encode().replace(b'"succeeded"', b'"triumphant"')
    reader = AIOKafkaConsumer(REJECTED.name, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await reader.start()
    try:
        async with start(group) as client:
            for value in (malformed, refused):
                await publish(run, value=value)
            await publish(completed())
            await _until_runs(client, workspace, 1)
            found = await _rejected(reader, {malformed, refused})
    finally:
        await reader.stop()
    for headers in found.values():
        assert headers["service"] == b"analytics"
        assert headers["topic"] == COMPLETED.name.encode()
        assert headers["reason"].startswith(b"malformed")
        assert "grant" not in headers


async def _rejected(reader: AIOKafkaConsumer, wanted: set[bytes]) -> dict[bytes, dict[str, bytes]]:
    found: dict[bytes, dict[str, bytes]] = {}
    async with asyncio.timeout(WITHIN):
        while found.keys() != wanted:
            record = await reader.getone()
            if record.value in wanted:
                found[record.value] = dict(record.headers)
    return found


async def test_a_run_from_acceptance_to_its_end(
    start: Start, group: str, publish: Publish, completed: Make, requested: Request, workspace: UUID
) -> None:
    async with start(group) as client:
        await publish(completed())
        await _until_runs(client, workspace, 1)  # so that the group has caught up

        asked = requested()  # now, since what is appended too late was never accepted
        path = f"/workspaces/{workspace}/runs/{asked.run_id}"
        assert (await client.get(path)).status_code == 404
        await publish(asked, topic=REQUESTED.name)
        waiting = (await client.get(path, params={"accepted_at": str(asked.accepted_at)})).json()
        await publish(completed(run_id=asked.run_id, accepted_at=asked.accepted_at))
        ended = (await client.get(path)).json()

    assert (waiting["data"]["status"], waiting["data"]["model"]) == ("accepted", "gpt-4o-mini")
    assert (ended["data"]["status"], ended["data"]["output"]) == ("succeeded", "four")
    assert ended["success"] is True


async def test_key_usage(start: Start, group: str, publish: Publish, completed: Make, workspace: UUID) -> None:
    key, other = new_id(), new_id()
    runs = [completed(key_id=key), completed(key_id=key), completed(key_id=other), completed()]
    async with start(group) as client:
        await publish(*runs)
        await _until_runs(client, workspace, 4)
        usage = (await client.get(f"/workspaces/{workspace}/key-usage")).json()["data"]
    assert {row["keyId"]: row["usageCount"] for row in usage} == {str(key): 2, str(other): 1}
    assert all(row["lastUsedAt"].endswith("Z") for row in usage)


async def test_the_gateway_alone_may_ask(
    start: Start, group: str, workspace: UUID, runner_signer: Signer, gateway_signer: Signer
) -> None:
    path = f"/workspaces/{workspace}/overview"
    async with start(group) as client:

        async def status(token: str) -> int:
            return (await client.get(path, headers={"authorization": f"Bearer {token}"})).status_code

        assert await status("nonsense") == 401
        assert await status(gateway_signer.service_token("vault")) == 401
        assert await status(runner_signer.service_token("analytics")) == 403
        assert await status(gateway_signer.service_token("analytics")) == 200
        bad = await client.get(path, params={"period": "8d"})
        assert (bad.status_code, bad.json()["code"]) == (422, "invalid_request")
        assert "'7d', '30d', '90d' or '1y'" in bad.json()["error"]


async def test_it_is_ready_once_it_reads(start: Start, group: str, completed: Make) -> None:
    async with start(group) as client, asyncio.timeout(WITHIN):
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.05)
        assert "tallyrun_analytics_records_total" in (await client.get("/metrics")).text


async def test_usage_by_model_and_label(
    start: Start, group: str, publish: Publish, completed: Make, workspace: UUID
) -> None:
    runs = [completed(model=f"m{n % 2}", labels={"team": "red" if n < 2 else "blue"}) for n in range(6)]
    async with start(group) as client:
        await publish(*runs)
        await _until_counted(client, workspace)
        path = f"/workspaces/{workspace}/usage"
        by_model = (await client.get(path, params={"by": "model", "compare": "true"})).json()["data"]
        red = (await client.get(path, params={"by": ["label:team", "model"], "label": "team=red"})).json()["data"]
        unknown = await client.get(path, params={"colour": "red"})
    assert [(g["by"], g["runs"]) for g in by_model["groups"]] == [({"model": "m0"}, 3), ({"model": "m1"}, 3)]
    assert (by_model["source"], by_model["totals"]["runs"], by_model["previous"]["runs"]) == ("days", 6, 0)
    assert [g["by"] for g in red["groups"]] == [{"label:team": "red", "model": m} for m in ("m0", "m1")]
    assert red["source"] == "runs"
    assert (unknown.status_code, unknown.json()["error"]) == (422, "colour: Extra inputs are not permitted")
