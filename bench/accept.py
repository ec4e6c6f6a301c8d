"""Accepting a run (202), against a bare FastAPI + aiokafka handler in the same minute."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from bench.bed import bed
from bench.load import Call, Seen, load, median
from bench.report import Row
from tests.stack import Stack

from common.engines.ports import free_port, listening

CALLERS = 64
SECONDS = 3
ROUNDS = 3
PROMPT = {"provider": "openai", "model": "gpt-4o-mini", "input": "Name three rivers, and say where each of them ends."}


def measure() -> list[Row]:
    """Return rows: calls a second, and the CPU that the accepting process spends on each."""
    with bed() as tested:
        return asyncio.run(_measure(tested.stack, tested.workspace().client.token))


async def _measure(stack: Stack, token: str) -> list[Row]:
    bootstrap = stack.kafka
    port = await _bare_topic_and_port(bootstrap)
    bare = subprocess.Popen([sys.executable, "-m", "bench.bare", bootstrap, str(port)])
    try:
        while not listening(port):
            await asyncio.sleep(0.05)
        ours, theirs = await _rounds(stack, token, port, bare.pid)
    finally:
        bare.terminate()
        bare.wait()
    return [
        Row(
            "accept (202), 64 callers: runs/s", ours.per_second, theirs.per_second, "bare FastAPI + aiokafka", "≥ 0.70"
        ),
        Row("accept (202): CPU ms of the process", ours.cpu_ms, theirs.cpu_ms, "bare FastAPI + aiokafka", ""),
    ]


async def _rounds(stack: Stack, token: str, bare_port: int, bare_pid: int) -> tuple[Seen, Seen]:
    """Alternate between the two, so that a machine that slows down slows both."""
    ours, theirs = [], []
    gateway, bare = psutil.Process(stack.pid("gateway")), psutil.Process(bare_pid)
    headers = {"authorization": f"Bearer {token}", "prefer": "respond-async"}
    async with aiohttp.ClientSession() as session:
        our_call = _poster(session, f"{stack.url}/api/integrations/run", headers)
        their_call = _poster(session, f"http://127.0.0.1:{bare_port}/run", {})
        for _ in range(ROUNDS):
            with _alone(stack):
                ours.append(await load(our_call, callers=CALLERS, seconds=SECONDS, process=gateway))
                theirs.append(await load(their_call, callers=CALLERS, seconds=SECONDS, process=bare))
            await asyncio.to_thread(_until_idle, stack)
    return median(ours), median(theirs)


@contextmanager
def _alone(stack: Stack) -> Iterator[None]:
    """Freeze those who carry the accepted runs out: the comparison has nobody behind it. Shorter than a session."""
    others = [stack.pid("runner"), stack.pid("analytics")]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in others:
        os.kill(pid, signal.SIGCONT)


def _poster(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> Call:
    async def call() -> None:
        async with session.post(url, json=PROMPT, headers=headers) as answer:
            assert answer.status == 202, await answer.text()
            await answer.read()

    return call


def _until_idle(stack: Stack) -> None:
    """Wait until the accepted runs are carried out: they must not slow down the comparison."""
    quiet, last = 0, -1.0
    while quiet < 3:
        time.sleep(0.5)
        now = _ended(stack)
        quiet, last = (quiet + 1, now) if now == last else (0, now)


def _ended(stack: Stack) -> float:
    port = int(psutil.Process(stack.pid("runner")).environ()["RUNNER_PORT"])
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    return sum(
        float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("tallyrun_runner_runs_ended_total")
    )


async def _bare_topic_and_port(bootstrap: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("bench.bare", 12, 1)])
    await admin.close()
    return free_port()
