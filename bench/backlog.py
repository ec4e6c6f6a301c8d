"""Bulk runs, published as an internal service would: straight to Kafka, with a grant."""

import asyncio

from aiokafka import AIOKafkaProducer
from bench.bed import Workspace

from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import BATCHED
from common.ids import new_id, now_ms

MODEL = "gpt-4o-mini"
DAY_MS = 24 * 3_600_000
LINGER_MS = 20
WORDS = (
    "Name three rivers of the country named below, and say for each of them where it rises, where it ends, which"
    " larger towns it passes, and how long it is. Answer in one sentence a river. Country number"
)
"""With the body around it, about 300 bytes."""


async def publish(kafka: str, workspace: Workspace, runs: int) -> None:
    """Return once the broker has acknowledged so many bulk runs of the workspace."""
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=LINGER_MS
    ) as producer:
        for number in range(runs):
            sent = await _send(producer, workspace, number)
        await sent
        await producer.flush()


async def _send(producer: AIOKafkaProducer, workspace: Workspace, number: int) -> asyncio.Future[object]:
    run = _run(workspace, number)
    headers = [*run.headers(), (GRANT_HEADER, workspace.grant)]
    return await producer.send(BATCHED.name, run.encode(), key=run.run_id.bytes, headers=headers)  # type: ignore[no-any-return]


def _run(workspace: Workspace, number: int) -> RunRequested:
    now = now_ms()
    return RunRequested(
        run_id=new_id(),
        workspace_id=workspace.id,
        operation="chat",
        provider="openai",
        model=MODEL,
        body={"model": MODEL, "messages": [{"role": "user", "content": f"{WORDS} {number}"}]},
        deadline=now + DAY_MS,
        publish_by=now + DAY_MS,
        accepted_at=now,
    )
