"""Batches through the HTTP API: the gateway's memory during an upload, what a row costs, and who waits for whom."""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from bench.backlog import MODEL, WORDS
from bench.bed import Bed, Workspace, bed
from bench.bulk import AT_ONCE, BARE, LATENCY_MS, Round, bare, per_second
from bench.journal import journal
from bench.report import Row
from openai import OpenAI

ROWS, LARGE_ROW = 50_000, 4_000
"""With the largest number of rows, so many characters a prompt make about the largest file: 200 MB."""

RUNS = 20_000
SMALL = 100
MB = 1024 * 1024
SAMPLE_SECONDS = 0.05
POLL_SECONDS = 0.2


def measure() -> list[Row]:
    """Return rows: the upload, the price of a row beside a bare loop's, and a small batch beside a large one."""
    with bed(RUNNER_SLOTS=str(AT_ONCE)) as tested, tempfile.TemporaryDirectory() as folder:
        tested.steer(latency_ms=LATENCY_MS)
        large, some, small = (Path(folder) / f"{name}.jsonl" for name in ("large", "some", "small"))
        write(large, ROWS, "x" * LARGE_ROW)
        write(some, RUNS, WORDS)
        write(small, SMALL, WORDS)
        _ended(tested.workspace(), small)  # code is warm
        return [*_upload(tested, large), *_rows(tested, some), *_beside(tested, large, small)]


def write(path: Path, rows: int, words: str) -> None:
    """Write a batch's input."""
    with path.open("w") as file:
        for number in range(rows):
            body = {"model": MODEL, "messages": [{"role": "user", "content": f"{words} {number}"}]}
            line = {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")


def _upload(tested: Bed, path: Path) -> list[Row]:
    workspace, gateway = tested.workspace(), tested.process("gateway")
    size, idle = path.stat().st_size / MB, gateway.memory_info().rss / MB
    began = time.perf_counter()
    with _watched(gateway) as highest:
        upload(workspace, path)
    took = time.perf_counter() - began
    what = f"gateway while {size:,.0f} MB in {ROWS:,} rows are uploaded: MB"
    return [
        Row(f"{what} before", idle, None, "", ""),
        Row(f"{what} at most", max(highest), idle, "before", "before + 50"),
        Row("upload: MB/s", size / took, None, "", ""),
    ]


@contextmanager
def _watched(process: psutil.Process) -> Iterator[list[float]]:
    """Sample the process's resident MB until the end of the block."""
    samples, over = [process.memory_info().rss / MB], threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            samples.append(process.memory_info().rss / MB)

    watching = threading.Thread(target=sample)
    watching.start()
    try:
        yield samples
    finally:
        over.set()
        watching.join()


def _rows(tested: Bed, path: Path) -> list[Row]:
    ours, loop = asyncio.run(_ours(tested, path)), bare(tested, RUNS)
    return [
        Row("batch rows/s", ours.per_second, loop.per_second, BARE, ""),
        Row("batch row: CPU ms of all services", ours.services, loop.cpu_ms["loop"], BARE, "< 1.00"),
        Row("batch row: CPU ms of gateway", ours.cpu_ms["gateway"], None, "", ""),
        Row("batch row: CPU ms of runner", ours.cpu_ms["runner"], None, "", ""),
    ]


async def _ours(tested: Bed, path: Path) -> Round:
    """Include everything: upload, validation, feeding, the results' file, and the overview."""
    workspace = tested.workspace()
    async with journal(tested.stack.kafka) as journaled:
        before = tested.cpu_seconds()
        await asyncio.to_thread(_ended, workspace, path)
        rate = await per_second(journaled, RUNS)
        await asyncio.to_thread(tested.until_counted, workspace, RUNS)
        after = tested.cpu_seconds()
    return Round(rate, {name: 1000 * (after[name] - before[name]) / RUNS for name in after})


def _beside(tested: Bed, large: Path, small: Path) -> list[Row]:
    alone = _ended(tested.workspace(), small)
    busy = tested.workspace()
    batch = submit(busy, large)
    _until(busy, batch, lambda told: told["succeeded"] > 0)
    beside = _ended(tested.workspace(), small)
    assert show(busy, batch)["state"] == "in_progress", "the large batch is over"
    busy.client.call("POST", f"/api/batches/{batch}/cancel")
    return [
        Row(f"batch of {SMALL} while {ROWS:,} rows of another workspace are in progress: s", beside, alone, "alone", "")
    ]


def _ended(workspace: Workspace, path: Path) -> float:
    """Return the seconds from the submission of an uploaded batch to its end."""
    began = time.perf_counter()
    batch = submit(workspace, path)
    _until(workspace, batch, lambda told: told["state"] == "completed")
    return time.perf_counter() - began


def _until(workspace: Workspace, batch: str, reached: Any) -> None:
    while not reached(told := show(workspace, batch)):
        assert told["state"] in ("validating", "in_progress", "finalizing"), told
        time.sleep(POLL_SECONDS)


def submit(workspace: Workspace, path: Path) -> str:
    """Upload and submit a batch; return its id."""
    batch: str = workspace.client.call("POST", "/api/batches", {"fileId": upload(workspace, path)}).data["id"]
    return batch


def upload(workspace: Workspace, path: Path) -> str:
    """Upload a batch's input with the official client; return its id."""
    client = OpenAI(api_key=workspace.client.token, base_url=f"{workspace.client.url}/v1")
    with path.open("rb") as file:
        return client.files.create(file=file, purpose="batch").id


def show(workspace: Workspace, batch: str) -> Any:
    """Return the batch as it stands."""
    return workspace.client.call("GET", f"/api/batches/{batch}").data
