"""What a large batch costs a gateway in memory, measured on a process of its own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil
import pytest
from services.gateway.tests.batches.conftest import PlayedLog
from services.gateway.tests.conftest import SettingsFor

from common.engines.ports import free_port
from gateway.batches.files import MAX_FILE_BYTES
from gateway.batches.validate import MOST_ROWS

MB = 2**20
MOST_MB = 50
WARM_BYTES = 8 * MB


def input_of(rows: int, size: int) -> bytes:
    """Write about so many bytes in so many rows."""
    filler = "x" * (size // rows - 165)
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": filler}]}
    line = {"custom_id": "{:08d}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    before, after = json.dumps(line).split("{:08d}")
    return "".join(f"{before}{number:08d}{after}\n" for number in range(rows)).encode()


@pytest.fixture
async def process(kafka: str, settings_for: SettingsFor) -> AsyncIterator[tuple[psutil.Process, httpx2.AsyncClient]]:
    """A gateway in a process of its own, and a caller who is its operator."""
    port, settings = free_port(), settings_for(kafka_bootstrap_servers=kafka)
    named = {name.upper(): str(value) for name, value in settings.model_dump(exclude_none=True).items()}
    for given in ("FAILED_TOKENS", "CLUSTER_SERVICES"):
        named.pop(given, None)
    named["DATABASE_URL"] = settings.database_url.get_secret_value()
    environment = {**os.environ, **named, "GATEWAY_PORT": str(port), "DRAIN_SECONDS": "0"}
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", env=environment)
    headers = {"authorization": f"Bearer {settings.admin_token_file.read_text().strip()}"}
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http:
        while not await _ready(http):
            assert running.returncode is None
            await asyncio.sleep(0.1)
        yield psutil.Process(running.pid), http
    running.terminate()
    await running.wait()


async def _ready(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/health/ready")).status_code == 200
    except httpx2.TransportError:
        return False


async def highest(process: psutil.Process, over: asyncio.Event) -> float:
    """Return the most MB that the process took until the event."""
    most = 0.0
    while not over.is_set():
        most = max(most, process.memory_info().rss / MB)
        await asyncio.sleep(0.01)
    return most


async def upload(http: httpx2.AsyncClient, content: bytes) -> str:
    form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", content)}}
    answer = await http.post("/v1/files", **form)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def fed(http: httpx2.AsyncClient, file_id: str) -> None:
    """Submit a batch, and return once its first window is fed."""
    batch = (await http.post("/api/batches", json={"fileId": file_id, "maxCost": 100_000})).json()["data"]["id"]
    while (told := (await http.get(f"/api/batches/{batch}")).json()["data"])["inFlight"] < 200:
        assert told["state"] in ("validating", "in_progress"), told
        await asyncio.sleep(0.1)


async def test_the_largest_file_takes_little_memory(
    process: tuple[psutil.Process, httpx2.AsyncClient], log: PlayedLog, tmp_path: Path
) -> None:
    log.script = lambda _: None
    gateway, http = process
    await fed(http, await upload(http, input_of(1000, WARM_BYTES)))  # code and prices are loaded
    before, content = gateway.memory_info().rss / MB, input_of(MOST_ROWS, MAX_FILE_BYTES - 2 * MB)
    assert MAX_FILE_BYTES - 3 * MB < len(content) <= MAX_FILE_BYTES
    over = asyncio.Event()
    watching = asyncio.create_task(highest(gateway, over))
    file_id = await upload(http, content)
    over.set()
    uploaded = await watching
    over = asyncio.Event()
    watching = asyncio.create_task(highest(gateway, over))
    await fed(http, file_id)
    over.set()
    validated = await watching
    print(
        f"{len(content) / MB:.0f} MB in {MOST_ROWS:,} rows: {before:.0f} MB before, at most {uploaded:.0f} while it is "
        f"uploaded, {validated:.0f} while it is validated and the first rows are fed"
    )
    assert uploaded - before < MOST_MB
    assert validated - before < MOST_MB
