"""The canary: one key through every success and error path of all four services at DEBUG, and it is seen nowhere (V5).

Nowhere is: logs, every record of every topic, every row of every table, every answer, every span of every trace, core
files, and the stack's whole folder byte by byte, as it is, in base64 and in hex.
"""

import asyncio
import base64
import json
import os
import resource
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from tests.stack import Client, Reply, Simulator, Stack, request, until
from tests.support.otlp import Collector, collecting

from common.contracts.event import GRANT_HEADER
from common.contracts.topics import CREDENTIALS_CHANGED, REQUESTED, TOPICS
from common.engines.ports import free_port
from common.engines.postgres import postgres_at
from common.kafka import FETCH_LIMITS, Publisher

DUMP_CLICKHOUSE = """
import sys, chdb.session
session = chdb.session.Session(sys.argv[1])
for name in session.query("SELECT name FROM system.tables WHERE database = 'tallyrun'", "TSV").data().split():
    print(name, session.query(f"SELECT * FROM tallyrun.{name}", "JSONEachRow").data())
"""


LOUD = """
import logging
import common.logs
common.logs.QUIET = ()
logging.getLogger("sqlalchemy").setLevel(logging.DEBUG)
"""
"""Run by every Python process before its first line: no library is kept quiet, whatever it may write."""


def forms(secret: str) -> list[bytes]:
    """The secret as bytes, in hex, and in base64 at each of the three places it may begin."""
    plain = secret.encode()
    encoded = [base64.b64encode(b"x" * shift + plain) for shift in range(3)]
    inner = [text[4 if shift else 0 : -4] for shift, text in enumerate(encoded)]
    safe = [text.translate(bytes.maketrans(b"+/", b"-_")) for text in inner]
    return [plain, plain.hex().encode(), plain.hex().upper().encode(), *inner, *safe]


@contextmanager
def core_dumps_allowed() -> Iterator[None]:
    """Let the processes that are started in the block dump their memory, if they do not forbid it themselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


class Way:
    """The canary's way: what is done with it, and every answer that came of it."""

    def __init__(self, stack: Stack, simulator: Simulator, client: Client, canary: str) -> None:
        self.stack, self.simulator, self.client, self.canary = stack, simulator, client, canary
        self.answers: list[Reply] = []

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        self.answers.append(self.client.call(method, path, body, **headers))
        return self.answers[-1]

    def steer(self, **rule: Any) -> None:
        """Have the provider treat every call that the rule matches so, and all others well."""
        assert request("POST", f"{self.simulator.url}/control", {"rules": [rule] if rule else []}).status == 200

    def connect(self, expected: int, **fields: Any) -> None:
        asked = {"provider": "openai", "apiKey": self.canary, **fields}
        answer = self.call("POST", "/api/integrations/connect", asked)
        assert answer.status == expected, answer

    def run(self, expected: int, text: str, model: str) -> None:
        answer = self.call("POST", "/api/integrations/run", {"provider": "openai", "model": model, "input": text})
        # The provider's circuit may be open after so many of its faults: then the run ends without a call.
        assert answer.status == expected or (expected >= 500 and answer.status >= 500), answer


def echo(word: str) -> str:
    return f"{word}: you sent '{{key}}', Authorization: Bearer {{key}}"


def connect_in_every_way(way: Way) -> None:
    way.steer(path="models", kind="invalid_api_key", message=echo("401"))
    way.connect(400)
    way.steer(path="models", kind="status", status=418, message=echo("418"))
    way.connect(400)
    way.steer()
    way.connect(200)
    way.connect(200)  # a rotation
    way.connect(200, provider="anthropic")
    way.connect(422, provider="nobody")
    way.connect(422, apiKey=way.canary * 200)
    way.connect(422, apiKey=way.canary + " and more")
    way.connect(422, apiKey={"value": way.canary})
    way.connect(422, name="n" * 65)
    way.connect(422, extra=way.canary)
    way.connect(502, provider="dark")
    broken = f'{{"provider": "openai", "apiKey": "{way.canary}"'.encode()
    assert way.call("POST", "/api/integrations/connect", broken).status == 422
    assert len(way.call("GET", "/api/integrations/keys").data) == 2


def run_in_every_way(way: Way, unique: str) -> None:
    steps: list[tuple[int, dict[str, Any]]] = [
        (200, {"merge": {"echo": f"you sent {way.canary}", "choices": [{"message": {"content": way.canary}}]}}),
        (424, {"kind": "invalid_api_key", "message": echo("401")}),
        (424, {"kind": "forbidden", "message": echo("403")}),
        (402, {"kind": "insufficient_quota", "message": echo("402")}),
        (400, {"kind": "bad_request", "message": echo("400")}),
        (400, {"kind": "status", "status": 418, "message": "x" * 490 + "{key}"}),
        (404, {"kind": "model_not_found", "message": echo("404")}),
        (429, {"kind": "rate_limited", "message": echo("429"), "retry_after": 700}),
        (502, {"kind": "server_error", "message": echo("500"), "retry_after": 0.01}),
        (502, {"kind": "malformed"}),
        (502, {"kind": "reset"}),
        (504, {"kind": "hang"}),
    ]
    for number, (status, step) in enumerate(steps):
        way.steer(prompt=f"{unique} step", **step)
        way.run(status, f"{unique} step {number}", "gpt-4.1" if status != 429 else "gpt-4.1-mini")


def call_as_nobody(way: Way) -> None:
    bearer = {"authorization": f"Bearer {way.canary}", "x-api-key": way.canary}
    environment = psutil.Process(way.stack.pid("runner")).environ()
    for url in (way.stack.url + "/api/runs", environment["VAULT_URL"] + "/leases"):
        way.answers.append(request("GET", url, headers=bearer))
    way.answers.append(request("POST", environment["VAULT_URL"] + "/leases", {"grant": way.canary}, bearer))


async def publish_what_is_no_event(way: Way) -> None:
    publisher = Publisher(way.stack.kafka)
    await publisher.start()
    for value in (b"nonsense", b"{}", None):
        await publisher.send(REQUESTED.name, value, key=b"x", headers=[(GRANT_HEADER, b"none")])
        await publisher.send(CREDENTIALS_CHANGED.name, value, key=b"x")
    await publisher.close()


def crash_while_it_is_held(way: Way, unique: str) -> None:
    """End the runner by a signal that dumps the memory of who does not forbid it, in the middle of a call.

    The next one asks the vault, which cannot open its own secret any more, and says so in its log with a traceback.
    """
    way.steer(prompt=f"{unique} hangs", kind="hang")
    asked = {"provider": "openai", "model": "gpt-4o", "input": f"{unique} hangs"}
    accepted = way.call("POST", "/api/integrations/run", asked, prefer="respond-async")
    until(lambda: way.simulator.calls()["in_flight"] > 0, "the call is under way")
    asyncio.run(break_what_is_sealed(way))
    runner = way.stack.pid("runner")
    os.kill(runner, signal.SIGABRT)
    run = way.client.ended(accepted.data["runId"])
    assert (run["status"], run["errorCode"]) == ("failed", "runner_fault")
    assert way.stack.pid("runner") != runner


async def break_what_is_sealed(way: Way) -> None:
    """Flip bits of every secret in the database."""
    connection = await asyncpg.connect(database_of(way.stack, "vault"))
    await connection.execute("UPDATE key_versions SET sealed = set_byte(sealed, 80, 255 - get_byte(sealed, 80))")
    await connection.close()


def database_of(stack: Stack, name: str) -> str:
    return postgres_at(stack.home / "postgres").url(name).replace("+asyncpg", "")


async def tables(stack: Stack) -> dict[str, str]:
    """Every row of every table of both databases, as text."""
    found = {}
    for database in ("gateway", "vault"):
        connection = await asyncpg.connect(database_of(stack, database))
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (name,) in names:
            found[f"{database}.{name}"] = "\n".join(
                str(tuple(row)) for row in await connection.fetch(f'TABLE "{name}"')
            )
        await connection.close()
    return found


async def records(stack: Stack) -> list[str]:
    """Every record of every topic, its key and headers too."""
    found: list[str] = []
    async with AIOKafkaConsumer(bootstrap_servers=stack.kafka, enable_auto_commit=False, **FETCH_LIMITS) as consumer:
        partitions = [TopicPartition(topic.name, number) for topic in TOPICS for number in range(topic.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        while any([ends[partition] > await consumer.position(partition) for partition in partitions]):
            for some in (await consumer.getmany(timeout_ms=200)).values():
                found += [f"{record.key!r} {record.headers!r} {record.value!r}" for record in some]
    return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def own_stack(tmp_path: Path, simulator: Simulator, collector: Collector) -> Iterator[Stack]:
    """A stack of this test's own, at DEBUG: its folder is searched whole."""
    (tmp_path / "providers.json").write_text(
        json.dumps([{"name": "dark", "wire": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1"}])
    )
    (tmp_path / "loud").mkdir()
    (tmp_path / "loud" / "sitecustomize.py").write_text(LOUD)
    environment = {
        "LOG_LEVEL": "DEBUG",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "PYTHONPATH": str(tmp_path / "loud"),
        "OPENAI_BASE_URL": f"{simulator.url}/v1",
        "ANTHROPIC_BASE_URL": simulator.url,
        "PROVIDERS_FILE": str(tmp_path / "providers.json"),
        "SYNC_WAIT_SECONDS": "4",
        "CALL_SECONDS": "1",
        "SESSION_SECONDS": "3",
    }
    stack = Stack(tmp_path / "home", free_port(), environment)
    with core_dumps_allowed():
        stack.start()
    yield stack
    if stack.process is not None and stack.process.poll() is None:
        stack.stop()


@pytest.mark.timeout(240)
def test_a_key_is_seen_nowhere(own_stack: Stack, simulator: Simulator, collector: Collector, unique: str) -> None:
    canary, stack = f"key-{uuid.uuid4().hex}", own_stack
    client = stack.admin().member_of_new_workspace(f"canary {unique}")
    way = Way(stack, simulator, client, canary)
    connect_in_every_way(way)
    run_in_every_way(way, unique)
    call_as_nobody(way)
    asyncio.run(publish_what_is_no_event(way))
    crash_while_it_is_held(way, unique)
    way.call("GET", "/api/runs?limit=200")
    client.counted()

    seen = {f"answer {n}": f"{a.headers} {a.body}" for n, a in enumerate(way.answers)}
    in_kafka = asyncio.run(records(stack))
    seen |= {f"record {number}": record for number, record in enumerate(in_kafka)}
    seen |= asyncio.run(tables(stack))
    stack.stop()
    dump = [sys.executable, "-c", DUMP_CLICKHOUSE, str(stack.home / "clickhouse")]
    seen["clickhouse"] = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    seen |= {f"spans {number}": body.decode("latin-1") for number, body in enumerate(collector.bodies)}
    files = [path for path in stack.home.parent.rglob("*") if path.is_file()] + list(Path.cwd().glob("core*"))
    logs = "".join(path.read_text() for path in (stack.home / "logs").iterdir())

    assert "Tampered" in logs, "the vault's fault is logged"
    for loud in ("aiokafka.producer", "sqlalchemy.engine.Engine", "httpx2", "common.http"):
        assert f'"logger": "{loud}' in logs, f"{loud} was quiet"
    assert "[key]" in "".join(in_kafka), "echoes were answered, and cleaned"
    assert "[key]" in seen["clickhouse"]
    assert "deny" in seen["vault.audit"]
    assert {span.service for span in collector.spans} == {
        f"tallyrun-{name}" for name in ("gateway", "runner", "vault", "analytics")
    }
    print(
        f"{len(way.answers)} answers, {len(in_kafka)} records, {len(seen)} texts, {len(files)} files of"
        f" {sum(path.stat().st_size for path in files) / 1e6:.0f} MB, logs of {len(logs) / 1e3:.0f} kB"
    )
    wanted = forms(canary)
    assert [name for name, text in seen.items() if any(form.decode() in text for form in wanted)] == []
    assert [str(path) for path in files if _holds(path, wanted)] == []


def _holds(path: Path, wanted: list[bytes]) -> bool:
    content = path.read_bytes()
    return any(form in content for form in wanted)
