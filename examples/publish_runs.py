"""An internal service that hands its runs straight to Kafka, on a grant that an admin issued to it.

    TALLYRUN_GRANT=… KAFKA=127.0.0.1:9092 python examples/publish_runs.py WORKSPACE_ID MODEL PROMPT…

Needs nothing of ours: one JSON record for each run, with the grant in a header.
"""

import asyncio
import json
import os
import sys
import time
import uuid

from aiokafka import AIOKafkaProducer

MINUTE_MS = 60_000


def requested(workspace_id: str, model: str, prompt: str) -> dict[str, object]:
    """Return the record's value: see libs/common/common/contracts/schemas/runs.v1.requested.json."""
    now = round(time.time() * 1000)
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
    }


async def main(workspace_id: str, model: str, *prompts: str) -> None:
    """Publish one run for each prompt, and print the ids under which their results will be found."""
    headers = [("type", b"runs.v1.requested"), ("grant", os.environ["TALLYRUN_GRANT"].encode())]
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["KAFKA"], acks="all", enable_idempotence=True)
    async with producer:
        for prompt in prompts:
            run = requested(workspace_id, model, prompt)
            key = uuid.UUID(str(run["run_id"])).bytes
            await producer.send_and_wait("runs.requested.v1", json.dumps(run).encode(), key=key, headers=headers)
            print(run["run_id"])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
