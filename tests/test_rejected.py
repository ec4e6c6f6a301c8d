"""From a rejected record to a counted run, as an operator types it: listed, tried without effect, replayed once."""

import asyncio
import json
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from tests.stack import Client, Simulator, Stack, until

from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import DAY_MS, REQUESTED
from common.engines.ports import free_port
from common.identity import Signer
from common.ids import new_id, now_ms
from common.kafka import Publisher


@dataclass(frozen=True)
class Command:
    """`tallyrun rejected …` as its user types it, piped."""

    url: str
    token: str

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tallyrun", "rejected", *words],
            env={"TALLYRUN_URL": self.url, "TALLYRUN_TOKEN": self.token},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def operator(admin: Client) -> Command:
    return Command(admin.url, admin.token)


@pytest.fixture
def workspace(client: Client) -> uuid.UUID:
    return uuid.UUID(client.call("GET", "/api/workspaces").data[0]["id"])


def test_a_rejected_run_is_replayed_and_counted_once(
    stack: Stack, operator: Command, client: Client, workspace: uuid.UUID, simulator: Simulator, unique: str
) -> None:
    run = asyncio.run(published_with_a_foreign_grant(stack, workspace, unique))
    of_this = f"--workspace={workspace}"
    until(lambda: json.loads(operator("list", of_this, "--json").stdout) != [], "the record is set aside")
    (record,) = json.loads(operator("list", of_this, "--json").stdout)
    assert (record["runId"], record["service"]) == (str(run.run_id), "runner")
    assert record["reason"] == "grant: it is for another workspace"
    assert unique not in str(record)

    simulator.forget()
    assert typed(operator("replay", of_this, "--dry-run")) == (0, ["replayed"], "Dry run, nothing was published")
    assert typed(operator("replay", of_this)) == (0, ["replayed"], "1 replayed")
    ended = client.ended(str(run.run_id))
    assert (ended["status"], ended["model"], ended["user"]) == ("succeeded", "gpt-4.1", "nightly")
    assert typed(operator("replay", of_this)) == (0, ["already_replayed"], "1 already replayed")
    totals = client.counted()["overview"]
    assert (totals["totalRuns"], totals["totalCost"], totals["repeatedExecutions"]) == (1, ended["cost"], 0)
    assert simulator.calls()["total"] == 1


def typed(done: subprocess.CompletedProcess[str]) -> tuple[int, list[str], str]:
    """Return the exit code, every record's outcome, and how the note begins."""
    header, *rows = (line.split("\t") for line in done.stdout.splitlines())
    assert header == ["offset", "run_id", "outcome", "why"]
    return done.returncode, [row[2] for row in rows], done.stderr.strip().partition(":")[0]


def test_what_cannot_be_replayed_is_said_and_listed_on(
    stack: Stack, operator: Command, workspace: uuid.UUID, unique: str
) -> None:
    poison = json.dumps({"workspace_id": str(workspace), "model": "gpt-4.1\x1b[2J", "text": unique}).encode()
    for _ in range(3):
        asyncio.run(published(stack, poison))
    words = f"--workspace={workspace}", "--reason=malformed"
    until(lambda: len(operator("list", *words).stdout.splitlines()) == 4, "three records are set aside")
    assert typed(operator("replay", *words)) == (3, ["cannot_be_replayed"] * 3, "3 cannot be replayed")
    two = operator("list", *words, "--limit=2")
    assert [line.split("\t")[6] for line in two.stdout.splitlines()] == ["model", "gpt-4.1 [2J", "gpt-4.1 [2J"]
    assert "first 2" in two.stderr
    assert operator("list", *words, "--since=2100-01-01").stdout.count("\n") == 1


def test_what_goes_wrong_is_said_on_stderr_with_its_exit_code(
    operator: Command, client: Client, simulator: Simulator
) -> None:
    for command, words, code, said in (
        (Command(client.url, client.token), ["list"], 4, "only the operator"),
        (Command(operator.url, ""), ["list"], 4, "TALLYRUN_TOKEN"),
        (Command(f"http://127.0.0.1:{free_port()}", "any"), ["list"], 7, "does not answer"),
        (Command(simulator.url, "any"), ["list"], 5, "not as a gateway does"),
        (operator, ["list", "--since=yesterday"], 2, "--since"),
        (operator, ["list", "--service=vault"], 2, "service"),
    ):
        done = command(*words)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert said in done.stderr


async def published_with_a_foreign_grant(stack: Stack, workspace: uuid.UUID, text: str) -> RunRequested:
    """Publish a run as an internal service would that took the grant of another workspace by mistake."""
    signer = Signer.load("gateway", stack.home / "identity" / "gateway")
    grant = signer.grant(uuid.uuid4(), ("openai",), 2**31).encode()
    now = now_ms()
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": text}]}
    run = RunRequested(
        run_id=new_id(), workspace_id=workspace, user="nightly", operation="chat", provider="openai", model="gpt-4.1",
        body=body, deadline=now + DAY_MS, publish_by=now + 60_000, accepted_at=now,
    )  # fmt: skip
    await published(stack, run.encode(), key=run.run_id.bytes, headers=[*run.headers(), (GRANT_HEADER, grant)])
    return run


async def published(stack: Stack, value: bytes, **more: Any) -> None:
    """Append a record to the requested topic."""
    publisher = Publisher(stack.kafka)
    await publisher.start()
    await publisher.send(REQUESTED.name, value, **more)
    await publisher.close()
