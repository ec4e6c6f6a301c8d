"""Runs as the gateway and the runner leave them in Kafka, many and fast: one of each is written, the rest copied."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from itertools import cycle
from typing import NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaProducer
from bench.backlog import WORDS

from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import Attempt, Cost, RunCompleted, RunRequested, Usage
from common.contracts.topics import COMPLETED, REQUESTED
from common.identity import Signer
from common.ids import new_id, now_ms

FAR_FUTURE = 2**31
DAY_MS = 24 * 3_600_000
MODEL = "gpt-4o-mini"
AT_ONCE = 5_000


class Pair(NamedTuple):
    """A run's two records, to be copied under other ids."""

    request: bytes
    completion: bytes
    run: bytes
    execution: bytes
    grant: bytes


async def flood(kafka: str, signer: Signer, workspaces: list[UUID], runs: int) -> None:
    """Return once the broker has acknowledged the requests and the completions of so many runs."""
    pairs = cycle([pair(signer, workspace) for workspace in workspaces])
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, compression_type="lz4", linger_ms=20, max_batch_size=512 * 1024
    ) as producer:
        for first in range(0, runs, AT_ONCE):
            copies = _copies(pairs, min(AT_ONCE, runs - first))
            sent = [
                await producer.send(topic, value, key=key, headers=headers) for topic, value, key, headers in copies
            ]
            await asyncio.gather(*sent)


def _copies(pairs: Iterator[Pair], count: int) -> Iterator[tuple[str, bytes, bytes, list[tuple[str, bytes]]]]:
    requested, completed = RunRequested.TYPE.encode(), RunCompleted.TYPE.encode()
    for _ in range(count):
        one, run, execution = next(pairs), new_id(), new_id()
        named = str(run).encode()
        headers = [("type", requested), (GRANT_HEADER, one.grant)]
        yield REQUESTED.name, one.request.replace(one.run, named), run.bytes, headers
        value = one.completion.replace(one.run, named).replace(one.execution, str(execution).encode())
        yield COMPLETED.name, value, run.bytes, [("type", completed)]


def pair(signer: Signer, workspace: UUID) -> Pair:
    """Return one run of the workspace, accepted now: a prompt and an answer of some hundred bytes each."""
    now, run, execution, key = now_ms(), new_id(), new_id(), new_id()
    usage, cost = Usage(input=60, output=40), _cost()
    same = {"run_id": run, "workspace_id": workspace, "user": "ada", "operation": "chat", "provider": "openai"}
    asked = {"model": MODEL, "prompt_id": "rivers", "labels": {"team": "maps"}, "accepted_at": now}
    body = {"model": MODEL, "messages": [{"role": "user", "content": WORDS}]}
    request = RunRequested(**same, **asked, body=body, deadline=now + DAY_MS, publish_by=now + DAY_MS)
    completion = RunCompleted(
        **same,
        **asked,
        execution_id=execution,
        completed_at=now + 900,
        status="succeeded",
        output=WORDS,
        response='{"id":"chatcmpl-1","object":"chat.completion","choices":[{"message":{"content":"' + WORDS + '"}}]}',
        finish_reason="stop",
        served_model=MODEL,
        service_tier="default",
        usage=usage,
        cost=cost,
        attempts=[Attempt(number=1, started_at=now, latency_ms=900, outcome="known", usage=usage, cost=cost)],
        prompt_preview=WORDS[:200],
        latency_ms=900,
        queued_ms=3,
        key_id=key,
        key_version=1,
    )
    grant = signer.grant(workspace, ("openai",), FAR_FUTURE).encode()
    return Pair(request.encode(), completion.encode(), str(run).encode(), str(execution).encode(), grant)


def _cost() -> Cost:
    parts = {"input": Decimal("0.000009"), "output": Decimal("0.000024")}
    return Cost(priced=True, total=Decimal("0.000033"), components=parts, catalogue="bench")
