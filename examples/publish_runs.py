"""An internal service that hands its runs straight to Kafka, on a grant that an admin issued to it.

    TALLYRUN_GRANT=… KAFKA=127.0.0.1:9092 python examples/publish_runs.py WORKSPACE_ID MODEL PROMPT…

Prints the run ids; with REPLY_TOPIC, a topic of the workspace's own, how each run ended instead, as a line of JSON.
Needs nothing of ours: one JSON record for each run, with the grant in a header.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

MINUTE_MS = 60_000
LARGEST = 10 * 1024 * 1024
"""Bytes of a record; the clients' defaults are 1 MiB."""

KAFKA, GRANT = os.environ["KAFKA"], os.environ["TALLYRUN_GRANT"]
REPLY_TOPIC = os.environ.get("REPLY_TOPIC")


def requested(workspace_id: str, model: str, prompt: str) -> dict[str, object]:
    """Return the record's value: docs/asyncapi.json's RunRequested."""
    now = round(time.time() * 1000)
    reply_to = {"reply_to": {"topic": REPLY_TOPIC, "partition": 0}} if REPLY_TOPIC else {}
    return {
        "run_id": str(uuid.uuid4()),
        "workspace_id": workspace_id,
        "user": "publish_runs.py",
        "operation": "chat",
        "provider": "openai",
        "model": model,
        "body": {"model": model, "messages": [{"role": "user", "content": prompt}]},
        "accepted_at": now,
        "publish_by": now + MINUTE_MS,
        "deadline": now + 60 * MINUTE_MS,
        **reply_to,
    }


async def publish(runs: Sequence[dict[str, object]]) -> None:
    """Append every run. aiokafka's own partitioner is murmur2, by the key, as the whole log's: keep to it."""
    headers = [("type", b"runs.v1.requested"), ("grant", GRANT.encode())]
    producer = AIOKafkaProducer(bootstrap_servers=KAFKA, acks="all", enable_idempotence=True, max_request_size=LARGEST)
    async with producer:
        for run in runs:
            key = uuid.UUID(str(run["run_id"])).bytes
            await producer.send_and_wait("runs.requested.v1", json.dumps(run).encode(), key=key, headers=headers)


async def ends(consumer: AIOKafkaConsumer, run_ids: set[object]) -> None:
    """Print how each of these runs ended. Others of this workspace may reply here too."""
    while run_ids:
        record = await consumer.getone()
        if (ended := json.loads(record.value))["run_id"] in run_ids:
            run_ids.discard(ended["run_id"])
            print(json.dumps(ended), flush=True)


async def main(workspace_id: str, model: str, *prompts: str) -> None:
    """Publish one run for each prompt, and print the ids under which their results will be found, or the results."""
    runs = [requested(workspace_id, model, prompt) for prompt in prompts]
    if REPLY_TOPIC is None:
        await publish(runs)
        print(*(run["run_id"] for run in runs), sep="\n")
        return
    async with AIOKafkaConsumer(bootstrap_servers=KAFKA, max_partition_fetch_bytes=LARGEST) as consumer:
        consumer.assign([TopicPartition(REPLY_TOPIC, 0)])
        await consumer.seek_to_end()
        await publish(runs)
        await ends(consumer, {run["run_id"] for run in runs})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
