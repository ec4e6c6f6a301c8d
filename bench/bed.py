"""What is measured: a stack of its own on a temporary folder, and the simulated provider beside it."""

import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from tests.stack import Client, Simulator, Stack, request

from common.engines.ports import free_port
from common.identity import Signer

SERVICES = ("runner", "analytics", "gateway", "vault")
FAR_FUTURE = 2**31


@dataclass(frozen=True)
class Workspace:
    """A workspace with an OpenAI key, and the grant with which an internal service publishes runs for it."""

    client: Client
    id: UUID
    grant: bytes


@dataclass(frozen=True)
class Bed:
    """A running stack and its provider."""

    stack: Stack
    simulator: Simulator

    def steer(self, **behaviour: Any) -> None:
        """Let the provider behave like this from now on."""
        assert request("POST", f"{self.simulator.url}/control", behaviour).status == 200

    def workspace(self) -> Workspace:
        """Return a new workspace with a key."""
        client = self.stack.admin().member_of_new_workspace(f"bench {uuid.uuid4()}")
        assert client.connect("openai", f"key-{uuid.uuid4().hex}").status == 200
        own = UUID(client.call("GET", "/api/workspaces").data[0]["id"])
        signer = Signer.load("gateway", self.stack.home / "identity" / "gateway")
        return Workspace(client, own, signer.grant(own, ("openai",), FAR_FUTURE).encode())

    def process(self, service: str) -> psutil.Process:
        """Return the process of a service."""
        return psutil.Process(self.stack.pid(service))

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU time that each service and the broker took so far."""
        return {service: _cpu_seconds(self.process(service)) for service in (*SERVICES, "kafka")}

    def until_counted(self, workspace: Workspace, runs: int) -> None:
        """Wait until the overview counts so many runs; asked once a second, since answers cost CPU as well."""
        while workspace.client.overview()["overview"]["totalRuns"] < runs:
            time.sleep(1)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def bed(**environment: str) -> Iterator[Bed]:
    """Start a stack with this environment, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="tallyrun-bench-") as folder:
        simulator = Simulator(free_port())
        urls = {"OPENAI_BASE_URL": f"{simulator.url}/v1", "ANTHROPIC_BASE_URL": simulator.url}
        stack = Stack(Path(folder) / "home", free_port(), {**urls, **environment})
        try:
            stack.start()
            yield Bed(stack, simulator)
        finally:
            stack.stop()
            simulator.stop()
