"""A batch whose services are killed while it runs: every row ends once, and is paid no more often than unavoidable."""

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI
from tests.stack import Client, Simulator, Stack, until

from tests.conftest import RUNNER_SLOTS

KILLED = ("gateway", "runner")
LATENCY_MS = 500
"""With 50 calls at once 600 rows take six seconds, so that both kills fall into them."""

ENDED = ("completed", "failed", "expired", "cancelled")


@pytest.mark.parametrize("rows", [600, pytest.param(20_000, marks=pytest.mark.soak)], ids=lambda rows: f"{rows} rows")
def test_a_batch_survives_its_gateway_and_its_runner(
    rows: int, stack: Stack, client: Client, simulator: Simulator, unique: str, tmp_path: Path
) -> None:
    path = _written(tmp_path / "in.jsonl", rows, unique)
    simulator.when(unique, latency_ms=LATENCY_MS)
    simulator.forget()
    batch = _submitted(client, path)
    for n, name in enumerate(KILLED, start=1):
        until(lambda n=n: _under_way(simulator, n * rows // 3), "a share of the calls is made", 300)  # type: ignore[misc]
        os.kill(stack.pid(name), signal.SIGKILL)
    told = _until(client, batch, lambda told: told["state"] in ENDED)

    repeated = simulator.calls()["total"] - rows
    print(f"{rows} rows, {len(KILLED)} kills: {repeated} calls repeated (bound {RUNNER_SLOTS})")
    assert (told["state"], told["succeeded"], told["failed"]) == ("completed", rows, 0)
    assert Counter(_results(client, batch)) == Counter(f"{unique}-{n}" for n in range(rows))
    assert 0 <= repeated <= RUNNER_SLOTS
    counted = client.counted()["overview"]
    assert counted["totalRuns"] == rows
    assert counted["totalCost"] == Decimal(str(told["cost"]))


def _under_way(simulator: Simulator, ended: int) -> bool:
    """Whether so many calls have ended, and others have not."""
    calls = simulator.calls()
    return bool(calls["total"] >= ended and calls["in_flight"])


def _written(path: Path, rows: int, unique: str) -> Path:
    with path.open("w") as file:
        for number in range(rows):
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"{unique} {number}"}]}
            line = {"custom_id": f"{unique}-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    return path


def _submitted(client: Client, path: Path) -> str:
    official = OpenAI(api_key=client.token, base_url=f"{client.url}/v1")
    with path.open("rb") as file:
        uploaded = official.files.create(file=file, purpose="batch").id
    asked = {"fileId": uploaded, "name": f"killed {uuid.uuid4()}"}
    batch: str = client.call("POST", "/api/batches", asked).data["id"]
    return batch


def _until(client: Client, batch: str, reached: Callable[[Any], bool]) -> Any:
    """Return the batch once it is as asked for; while the gateway is away nobody tells."""
    told: Any = None

    def asked() -> bool:
        nonlocal told
        try:
            told = client.call("GET", f"/api/batches/{batch}").data
        except OSError:
            return False
        return reached(told)

    until(asked, "the batch gets there", 300)
    return told


def _results(client: Client, batch: str) -> list[str]:
    official = OpenAI(api_key=client.token, base_url=f"{client.url}/v1")
    output = official.batches.retrieve(batch).output_file_id
    assert output is not None
    lines = official.files.content(output).text.splitlines()
    return [json.loads(line)["custom_id"] for line in lines]
