"""What anybody would write in an afternoon: a handler that parses a body and appends it to Kafka. Nothing else.

`python -m bench.bare BOOTSTRAP PORT`
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from pydantic import BaseModel


class Prompt(BaseModel):
    """The fields of a run."""

    provider: str
    model: str
    input: str


def app(bootstrap: str) -> FastAPI:
    """Return the handler; its producer waits for all replicas, as ours does."""
    producers: list[AIOKafkaProducer] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        producers.append(AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all"))
        await producers[0].start()
        yield
        await producers[0].stop()

    bare = FastAPI(lifespan=lifespan)

    @bare.post("/run", status_code=202)
    async def run(prompt: Prompt) -> dict[str, str]:
        await producers[0].send_and_wait("bench.bare", prompt.model_dump_json().encode())
        return {"status": "accepted"}

    return bare


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[1]), port=int(sys.argv[2]), access_log=False, log_level="warning")
