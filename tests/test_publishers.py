"""Internal services publish runs straight to Kafka, in Python and in Java: message in, result out, nothing silent."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.stack import Client, Stack, until
from tests.support.java import compiled

EXAMPLES = Path(__file__).parents[1] / "examples"
MODEL = "gpt-4o-mini"


@pytest.fixture
def workspace(client: Client) -> str:
    return str(client.call("GET", "/api/workspaces").data[0]["id"])


@pytest.fixture
def grant(client: Client) -> str:
    ends = datetime.now(UTC) + timedelta(hours=1)
    asked = {"name": "a publisher", "providers": ["openai"], "expiresAt": ends.isoformat()}
    return str(client.call("POST", "/api/grants", asked).data["grant"])


def printed(stack: Stack, command: Sequence[str], grant: str, **environment: str) -> list[str]:
    """Run a program as a publisher would, and return its lines."""
    done = subprocess.run(
        command,
        env={**os.environ, "KAFKA": stack.kafka, "TALLYRUN_GRANT": grant, **environment},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def assert_answered(client: Client, lines: list[str], unique: str) -> None:
    """Fail unless each line is the end of a run that has an answer and a price, as the books have it."""
    ends = [json.loads(line) for line in lines]
    assert [end["status"] for end in ends] == ["succeeded"] * 2
    for end in ends:
        run = client.ended(end["run_id"])
        assert (run["output"], run["promptPreview"]) == (end["output"], end["prompt_preview"])
        assert unique in run["promptPreview"]
        assert end["cost"]["priced"]


def test_java_publishes_and_reads_the_end_from_the_completed_topic(
    stack: Stack, client: Client, workspace: str, grant: str, unique: str, tmp_path: Path
) -> None:
    command = compiled(EXAMPLES / "PublishRuns.java", tmp_path)
    prompts = [f'Say "{unique}".', f"Two lines:\nof {unique} \\ über"]
    lines = printed(stack, [*command, workspace, MODEL, *prompts], grant)
    assert_answered(client, lines, unique)


def test_python_publishes_and_reads_the_end_from_a_topic_of_its_own(
    stack: Stack, client: Client, workspace: str, grant: str, unique: str
) -> None:
    topic = f"runs.replies.{workspace}.nightly"
    asyncio.run(made(stack, topic))
    command = [sys.executable, str(EXAMPLES / "publish_runs.py"), workspace, MODEL]
    lines = printed(stack, [*command, f"Say {unique}.", f"And {unique} again."], grant, REPLY_TOPIC=topic)
    assert_answered(client, lines, unique)


def test_a_reply_topic_that_is_not_there_costs_the_reply_alone(
    stack: Stack, client: Client, workspace: str, grant: str
) -> None:
    run = requested(workspace, reply_to={"topic": f"runs.replies.{workspace}.missing", "partition": 0})
    asyncio.run(sent(stack, json.dumps(run).encode(), grant))
    assert client.ended(run["run_id"])["status"] == "succeeded"


def test_what_is_no_run_is_seen_by_who_looks(stack: Stack, admin: Client, workspace: str, grant: str) -> None:
    stranger = uuid.uuid4()
    garbage = b'{"run": "' + uuid.uuid4().hex.encode() + b'"}'
    refused = {
        "grant: the token": (json.dumps(requested(workspace)).encode(), "forged"),
        "grant: it is for another workspace": (json.dumps(requested(str(stranger))).encode(), grant),
        "reply_to.topic: it must be": (
            json.dumps(requested(workspace, reply_to={"topic": f"runs.replies.{stranger}", "partition": 0})).encode(),
            grant,
        ),
        "malformed: run_id": (garbage, grant),
    }
    for value, token in refused.values():
        asyncio.run(sent(stack, value, token))

    def listed() -> list[str]:
        command = [sys.executable, "-m", "tallyrun", "rejected", "list", "--json"]
        environment = {"TALLYRUN_URL": admin.url, "TALLYRUN_TOKEN": admin.token}
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
        return [record["reason"] for record in json.loads(told)]

    until(
        lambda: all(any(reason.startswith(said) for reason in listed()) for said in refused),
        "every one of them is listed with its reason",
    )


def requested(workspace: str, **more: Any) -> dict[str, Any]:
    """Return what a publisher would send, as plain JSON."""
    now = round(datetime.now(UTC).timestamp() * 1000)
    return {
        "run_id": str(uuid.uuid4()),
        "workspace_id": workspace,
        "operation": "chat",
        "provider": "openai",
        "model": MODEL,
        "body": {"model": MODEL, "messages": [{"role": "user", "content": "Name a river."}]},
        "accepted_at": now,
        "publish_by": now + 60_000,
        "deadline": now + 600_000,
        **more,
    }


async def sent(stack: Stack, value: bytes, grant: str) -> None:
    """Publish bytes under a grant."""
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka) as producer:
        await producer.send_and_wait("runs.requested.v1", value, headers=[("grant", grant.encode())])


async def made(stack: Stack, topic: str) -> None:
    """Make a topic, as an operator would."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "10485760"})])
    finally:
        await admin.close()
