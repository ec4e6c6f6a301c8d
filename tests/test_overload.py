"""Twice what a gateway can take: callers hear so at once, nothing that was accepted is lost, memory stays flat."""

import asyncio
import itertools
import math
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.runners import Beside
from tests.stack import Client, Stack, until
from tests.support import metrics
from tests.support.flood import Flood, post

from common.errors import Overloaded, QuotaExceeded

CAPACITY_SECONDS, CAPACITY_CALLERS = 2, 32
BURST = 8 * 64
"""At the end so many come in one moment: however fast the machine, that is more than it takes."""
ENTERING_REQUESTS = 64
"""Fewer than by default: the gateway, all behind it and the flood itself share two cores here."""

WAITING_RUNS = 3_000
"""Of the flooding workspace: beyond it callers are refused, and at the end as many are still to be carried out."""

CALM_RATE = 10
"""Runs a second of another workspace, that waits for its results."""

P99_SECONDS = 1.0
"""The budget, as the gateway itself measures it: here the flood may be what waits for a core."""

MEMORY_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 0.02
"""For each accepted run; at rest it is a tenth of that."""


@dataclass(frozen=True)
class Tenant:
    """A workspace that runs prompts."""

    client: Client
    waits: bool
    prompt: str

    def requests(self) -> Callable[[], bytes]:
        """Return what makes the next request."""
        numbers = itertools.count()
        headers = {} if self.waits else {"prefer": "respond-async"}

        def following() -> bytes:
            body = {"provider": "openai", "model": "gpt-4o-mini", "input": f"{self.prompt} {next(numbers)}"}
            return post("/api/integrations/run", self.client.token, body, **headers)

        return following


def tenant(stack: Stack, *, waits: bool, **limits: int) -> Tenant:
    """Return a fresh workspace with a key."""
    client = stack.admin().member_of_new_workspace(f"test {uuid.uuid4()}")
    assert client.connect("openai", f"key-{uuid.uuid4().hex}").status == 200
    workspace = client.call("GET", "/api/workspaces").data[0]["id"]
    assert stack.admin().call("PUT", f"/api/workspaces/{workspace}/limits", limits).status == 200
    return Tenant(client, waits, uuid.uuid4().hex)


class Memory:
    """Watches how much memory a process holds."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.seen: list[int] = []

    async def watch(self) -> None:
        while True:
            self.seen.append(self._process.memory_info().rss)
            await asyncio.sleep(0.2)


@dataclass(frozen=True)
class Storm:
    """What came of it."""

    capacity: float
    flood: Flood
    calm: Flood
    burst: Flood
    memory: list[int]


async def storm(gateway: Beside, flooding: Tenant, calm: Tenant, seconds: float) -> Storm:
    """Find out what the gateway can take, then send twice of it for so long, and a little of another workspace."""
    flood, beside, following = Flood(gateway.url), Flood(gateway.url), flooding.requests()
    capacity = await flood.closed_loop(following, CAPACITY_CALLERS, CAPACITY_SECONDS)
    memory = Memory(gateway.pid)
    watching = asyncio.create_task(memory.watch())
    await asyncio.gather(
        flood.open_loop(following, 2 * capacity, seconds), beside.open_loop(calm.requests(), CALM_RATE, seconds)
    )
    burst = Flood(gateway.url)
    await burst.burst(following, BURST)
    watching.cancel()
    for used in (flood, beside, burst):
        used.close()
    flood.answers += burst.answers
    return Storm(capacity, flood, beside, burst, memory.seen)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seconds", [10, pytest.param(600, marks=pytest.mark.soak)])
def test_twice_the_capacity_is_refused_at_once_and_nothing_accepted_is_lost(
    stack: Stack, tmp_path: Path, seconds: int
) -> None:
    flooding = tenant(stack, waits=False, waitingRuns=WAITING_RUNS)
    calm = tenant(stack, waits=True)
    settings = {"sync_wait_seconds": 25, "entering_requests": ENTERING_REQUESTS}
    gateway = Beside(stack, tmp_path / "gateway.log", "gateway", **settings)
    try:
        until(gateway.ready, "the gateway is up")
        seen = asyncio.run(storm(gateway, flooding, calm, seconds))
        served = slowest(gateway)
    finally:
        gateway.stop()
    tell(seen, seconds, served)
    assert set(seen.flood.statuses()) <= {202, 429, 503}
    assert set(seen.calm.statuses()) <= {200, 503}
    assert seen.burst.statuses()[503]
    check_refusals(seen.flood)
    assert served <= P99_SECONDS
    assert max(seen.memory) <= seen.memory[0] + MEMORY_BYTES
    for tenant_, flood, status in ((flooding, seen.flood, 202), (calm, seen.calm, 200)):
        accepted = {answer.body["data"]["runId"] for answer in flood.answers if answer.status == status}
        count = len(accepted)
        until(lambda t=tenant_, n=count: counted(t) >= n, "every run is counted", 60 + count * DRAIN_SECONDS)  # type: ignore[misc]
        assert counted(tenant_) == count


def counted(tenant: Tenant) -> int:
    return int(tenant.client.counted()["overview"]["totalRuns"])


def slowest(gateway: Beside) -> float:
    """Return within how many seconds the gateway answered 99 in 100 of those it accepted, by its own measure."""
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=10) as answer:
        series = metrics.samples(answer.read().decode())
    buckets: dict[float, float] = {}
    for (name, labels), value in series.items():
        of = dict(labels)
        if name == "tallyrun_http_request_duration_seconds_bucket" and of.get("status") == "202":
            buckets[float(of["le"])] = buckets.get(float(of["le"]), 0) + value
    return min(bound for bound, count in buckets.items() if count >= 0.99 * buckets[math.inf])


def check_refusals(flood: Flood) -> None:
    """Each says why in a word, and when to come again."""
    refused = [answer for answer in flood.answers if answer.status in (429, 503)]
    codes = {429: QuotaExceeded.code, 503: Overloaded.code}
    assert all(answer.body["code"] == codes[answer.status] and answer.headers["retry-after"] for answer in refused)


def tell(seen: Storm, seconds: float, served: float) -> None:
    """Print the figures."""
    flood, calm, mib = seen.flood, seen.calm, 1024 * 1024
    print(
        f"capacity {seen.capacity:.0f}/s; {2 * seen.capacity:.0f}/s for {seconds} s: {dict(flood.statuses())},"
        f" p50 {flood.percentile(50) * 1000:.0f} ms, p99 {flood.percentile(99) * 1000:.0f} ms,"
        f" 99% of the accepted within {served:g} s at the gateway; of {BURST} at once {dict(seen.burst.statuses())};"
        f" another workspace: {dict(calm.statuses())}, p99 {calm.percentile(99) * 1000:.0f} ms;"
        f" memory {seen.memory[0] / mib:.0f} → {max(seen.memory) / mib:.0f} MiB at most"
    )
