"""The official clients, unmodified, against the whole stack: what they raise, what they believe, and the raw bytes."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stack import Client, Simulator, Stack

ROOT = Path(__file__).parent.parent
OPENAI_2 = Path(sys.prefix) / "openai2"
"""Where `make install` puts the older major version, whose HTTP library is another."""

STEPS: dict[str, dict[str, Any]] = {
    "-refused": {"kind": "bad_request"},
    "-nothing": {"merge": {"choices": None}},
    "-soon": {"kind": "rate_limited", "retry_after": 90},
    "-later": {"kind": "rate_limited", "retry_after": 300},
    "-broke": {"kind": "insufficient_quota"},
    "-overloaded": {"kind": "overloaded", "retry_after": 90},
    "-error": {"break_after": 4, "break_by": "error", "pace_ms": 5},
    "-cut": {"break_after": 4, "break_by": "cut", "pace_ms": 5},
    "-end": {"break_after": 4, "break_by": "end", "pace_ms": 5},
    "-slow": {"latency_ms": 1300},
}
"""What the simulator does with a prompt that has these words in it."""

CLIENTS = [("openai", "2."), ("openai", "3."), ("anthropic", "2.")]


@pytest.fixture(autouse=True)
def _limits(simulator: Simulator) -> Iterator[None]:
    """Let every answer say what is left of limits that nobody reaches."""
    simulator.control(limit={"per_second": 10_000, "burst": 10_000, "reported": True})
    yield
    simulator.control(limit=None)


@pytest.mark.parametrize(("program", "version"), CLIENTS, ids=lambda part: part.rstrip("."))
def test_the_official_client(stack: Stack, client: Client, simulator: Simulator, program: str, version: str) -> None:
    seed = uuid.uuid4().hex
    for words, step in STEPS.items():
        simulator.when(f"{seed}{words}", **step)
    environment = {
        **os.environ,
        "CONFORMANCE_URL": stack.url,
        "CONFORMANCE_TOKEN": client.token,
        "CONFORMANCE_SIMULATOR": simulator.url,
        "CONFORMANCE_SEED": seed,
    }
    if (program, version) == ("openai", "2."):
        assert OPENAI_2.is_dir(), "make install puts the older client there"
        environment["PYTHONPATH"] = str(OPENAI_2)
    command = [sys.executable, "-m", f"tests.conformance.{program}_checks"]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    used, *lines = ended.stdout.splitlines()
    assert used.startswith(version), (used, ended.stderr)
    told = [json.loads(line) for line in lines]
    print(f"\n{program} {used}: {sum(each['error'] is None for each in told)} of {len(told)} hold")
    for each in told:
        print(f"  {'pass' if each['error'] is None else 'FAIL'}  {each['check']} ({each['seconds']:.1f} s)")
    failed = "\n".join(each["check"] + "\n" + each["error"] for each in told if each["error"])
    assert not failed, failed
    assert ended.returncode == 0, ended.stderr
