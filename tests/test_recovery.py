"""What the stack survives: killed services, restarts, redelivery, a stack that was killed itself."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from tests.stack import WAIT_SECONDS, Client, Simulator, Stack, until

from common.contracts.topics import COMPLETED

SERVICES = ("vault", "runner", "analytics", "gateway")


def works(client: Client) -> bool:
    """Whether a key can be connected and a run succeeds: that takes every service and both engines."""
    try:
        connected = client.connect("openai", f"key-{uuid.uuid4().hex}").status == 200
        return connected and client.run("openai", "gpt-4.1", f"Are you well? {uuid.uuid4()}").status == 200
    except OSError:  # the gateway is away
        return False


@pytest.mark.parametrize("names", [("vault", "runner", "analytics", "gateway"), ("kafka", "postgres")], ids=str)
def test_killed_processes_are_started_again_and_everything_works(
    stack: Stack, client: Client, names: tuple[str, ...]
) -> None:
    assert works(client)
    kill(stack, *names)
    for name in names:
        assert f"{name} was ended by SIGKILL; starting it again in" in stack.output()
    until(lambda: works(client), "everything works again", 60)
    assert client.counted()["overview"]["totalRuns"] >= 2


def kill(stack: Stack, *names: str) -> None:
    """Kill processes, and return once the stack says that they are back."""
    before = {name: stack.output().count(f"{name} is ready again") for name in names}
    for name in names:
        os.kill(stack.pid(name), signal.SIGKILL)
    for name, times in before.items():
        until(lambda n=name, t=times: stack.output().count(f"{n} is ready again") > t, f"{name} is back", 60)  # type: ignore[misc]


def test_a_run_in_flight_when_the_runner_is_killed_is_not_lost(
    stack: Stack, client: Client, simulator: Simulator, unique: str
) -> None:
    simulator.when(unique, latency_ms=1500, times=1)
    simulator.forget()
    accepted = client.run("openai", "gpt-4.1", unique, headers={"prefer": "respond-async"})
    until(lambda: simulator.calls()["in_flight"] == 1, "the call is made")
    kill(stack, "runner")
    assert client.ended(accepted.data["runId"])["status"] == "succeeded"
    assert client.counted()["overview"]["totalRuns"] == 1


def test_redelivery_of_the_whole_completed_topic_changes_no_total(stack: Stack, client: Client, unique: str) -> None:
    for n in range(10):
        client.run("openai" if n % 2 else "anthropic", "gpt-4.1" if n % 2 else "claude-haiku-4-5", f"{n} {unique}")
    before = client.counted()
    assert asyncio.run(redeliver(stack)) >= 10
    marker = client.run("openai", "gpt-4.1", f"after {unique}").data
    after = client.counted()
    assert after["overview"]["totalRuns"] == 11
    assert after["overview"]["totalCost"] == before["overview"]["totalCost"] + marker["cost"]
    assert after["overview"]["totalTokens"] == before["overview"]["totalTokens"] + marker["totalTokens"]
    assert after["overview"]["repeatedExecutions"] == 0


async def redeliver(stack: Stack) -> int:
    """Append every record of the completed topic once more, wait until analytics has read them; return how many."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, auto_offset_reset="earliest", enable_auto_commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka)
    async with consumer, producer:
        partitions = [TopicPartition(COMPLETED.name, number) for number in range(COMPLETED.partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        again = 0
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                for record in (await consumer.getmany(partition, timeout_ms=500)).get(partition, []):
                    if record.offset < ends[partition]:
                        again += 1
                        await producer.send_and_wait(
                            COMPLETED.name, record.value, record.key, partition.partition, headers=list(record.headers)
                        )
        await until_read(stack, await consumer.end_offsets(partitions))
    return again


async def until_read(stack: Stack, ends: dict[TopicPartition, int]) -> None:
    """Return once analytics has committed everything before these offsets."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
    await admin.start()
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                committed = await admin.list_consumer_group_offsets("analytics")
                if all(not end or committed[partition].offset >= end for partition, end in ends.items()):
                    return
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


def test_a_restart_keeps_the_data_and_leaves_no_process(stack: Stack, client: Client, unique: str) -> None:
    client.run("openai", "gpt-4.1", unique).data  # noqa: B018 - it fails unless the run succeeded
    before, keys = client.counted(), client.call("GET", "/api/integrations/keys").data
    pids = stack.pids()
    assert stack.stop(signal.SIGINT) < 15
    assert [pid for pid in pids if alive(pid)] == []
    stack.start()
    assert totals(client) == before["overview"]
    assert [key["id"] for key in client.call("GET", "/api/integrations/keys").data] == [key["id"] for key in keys]
    assert works(client)  # the stored key can still be opened


def test_a_stack_that_was_killed_starts_again(stack: Stack, client: Client) -> None:
    assert works(client)
    before, pids = client.counted()["overview"], stack.pids()
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    assert all(alive(pid) for pid in pids)  # orphans, that hold the ports and the data
    stack.start()
    assert [pid for pid in pids if alive(pid)] == []
    assert totals(client) == before
    assert works(client)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended may wait for its new parent to take note."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def totals(client: Client) -> dict[str, object]:
    """Return the overview's totals."""
    return dict(client.overview()["overview"])


def test_a_second_start_says_that_one_runs_and_stops(stack: Stack) -> None:
    assert stack.process is not None
    second = another(stack, {})
    assert second.returncode == 1
    assert str(stack.process.pid) in second.stderr
    assert stack.url in second.stderr


def test_a_port_in_use_is_named(stack: Stack, tmp_path: Path) -> None:
    second = another(stack, {"TALLYRUN_HOME": str(tmp_path / "home")})
    assert second.returncode == 1
    assert f"port {stack.url.rpartition(':')[2]} is in use" in second.stderr
    assert f"process {stack.pid('gateway')}" in second.stderr
    assert "GATEWAY_PORT=" in second.stderr


def another(stack: Stack, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Try to start one more stack."""
    return subprocess.run(
        [sys.executable, "-m", "embedded", "run"],
        env={**stack.environment, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
