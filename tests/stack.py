"""The embedded stack as a test drives it: from outside, as a user would, by its command and its HTTP API."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

START_SECONDS = 90
STOP_SECONDS = 20
WAIT_SECONDS = 30


def until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Return once the condition holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer. Numbers with a fraction are `Decimal`."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def data(self) -> Any:
        """What a successful answer carries."""
        assert self.status in (200, 201, 202), self
        return self.body["data"]


def request(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """Send a request; `body` is bytes, or what JSON can say."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    asked = urllib.request.Request(url, content, {"content-type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return Reply(answer.status, _lower(answer.headers), _json(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, _lower(error.headers), _json(error.read()))


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _json(content: bytes) -> Any:
    return json.loads(content, parse_float=Decimal) if content else None


class Simulator:
    """The simulated provider, in a process of its own: it outlives restarts of the stack, and so do its counts."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._rules: list[dict[str, Any]] = []
        environment = {**os.environ, "SIMULATOR_PORT": str(port)}
        self._process = subprocess.Popen([sys.executable, "-m", "embedded.simulator"], env=environment)
        until(self._answers, "the simulator answers")

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def when(self, prompt: str, **step: Any) -> None:
        """Treat every prompt that contains this text so."""
        self._rules.append({"prompt": prompt, **step})
        self.control(rules=self._rules)

    def control(self, **behaviour: Any) -> None:
        """Behave so from now on, and otherwise as before."""
        assert request("POST", f"{self.url}/control", behaviour).status == 200

    def calls(self) -> Any:
        """Return what it counted since `forget`."""
        return request("GET", f"{self.url}/control/calls").body

    def last(self) -> Any:
        """Return the body of the last call."""
        return request("GET", f"{self.url}/control/last").body

    def forget(self) -> None:
        """Count from zero."""
        request("DELETE", f"{self.url}/control/calls")

    def _answers(self) -> bool:
        try:
            return request("GET", f"{self.url}/control").status == 200
        except urllib.error.URLError:
            return False


class RunningSimulator(Simulator):
    """A simulated provider that somebody else started."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._rules = []

    def stop(self) -> None:
        """Leave it."""


class Stack:
    """`python -m embedded run` on a folder; its output is kept in a file."""

    def __init__(self, home: Path, port: int, environment: dict[str, str]) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self._output = home.with_suffix(".output")
        self.environment = {**os.environ, "TALLYRUN_HOME": str(home), "GATEWAY_PORT": str(port), **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until everything is ready."""
        before = self.output().count("everything is ready")
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "embedded", "run"], env=self.environment, stdout=output, stderr=output
            )
        until(lambda: self._ready(before), "the stack is ready", START_SECONDS)

    def _ready(self, before: int) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output()
        return self.output().count("everything is ready") > before

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Stop it and return the seconds that took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        assert self.process.wait(STOP_SECONDS) == 0, self.output()
        return time.monotonic() - began

    def output(self) -> str:
        """Return what it printed so far."""
        return self._output.read_text() if self._output.exists() else ""

    def pid(self, service: str) -> int:
        """Return the process id of a service, as of its last start."""
        return self._pids()[service]

    def pids(self) -> list[int]:
        """Return the process ids of everything it runs."""
        return list(self._pids().values())

    def _pids(self) -> dict[str, int]:
        started = map(json.loads, (self.home / "processes").read_text().splitlines())
        return {process["name"]: process["pid"] for process in started}

    @property
    def kafka(self) -> str:
        """Where its broker listens."""
        properties = (self.home / "kafka" / "server.properties").read_text()
        return properties.partition("advertised.listeners=PLAINTEXT://")[2].splitlines()[0]

    def admin(self) -> "Client":
        """Return the operator."""
        return Client(self.url, (self.home / "admin-token").read_text())


@dataclass(frozen=True)
class Client:
    """A caller of the API with one token."""

    url: str
    token: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send a request; underscores in header names become dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request(method, self.url + path, body, {"authorization": f"Bearer {self.token}", **named})

    def connect(self, provider: str, api_key: str) -> Reply:
        """Connect a provider key."""
        return self.call("POST", "/api/integrations/connect", {"provider": provider, "apiKey": api_key})

    def run(self, provider: str, model: str, text: str, *, headers: dict[str, str] | None = None, **more: Any) -> Reply:
        """Run a prompt and wait for its result."""
        body = {"provider": provider, "model": model, "input": text, **more}
        return self.call("POST", "/api/integrations/run", body, **(headers or {}))

    def overview(self, period: str = "7d") -> Any:
        """Return the overview."""
        return self.call("GET", f"/api/analytics/overview?period={period}").data

    def counted(self) -> Any:
        """Return the overview once everything that has ended by now is counted, by its own word."""
        now = datetime.now(UTC)
        until(lambda: self._read_up_to() >= now, "the overview has read up to now")
        return self.overview()

    def _read_up_to(self) -> datetime:
        return datetime.fromisoformat(self.overview()["readUpTo"] or "1970-01-01T00:00:00Z")

    def ended(self, run_id: str) -> Any:
        """Return the run once it has ended."""
        until(lambda: self._status(run_id) != "accepted", f"run {run_id} ends")
        return self.call("GET", f"/api/runs/{run_id}").data

    def _status(self, run_id: str) -> str:
        return str(self.call("GET", f"/api/runs/{run_id}").data["status"])

    def member_of_new_workspace(self, name: str, role: str = "admin") -> Self:
        """Create a workspace (the operator alone) and return a caller in it."""
        workspace = self.call("POST", "/api/workspaces", {"name": name}).data["id"]
        return self.issued(role, workspaceId=workspace)

    def issued(self, role: str, **more: Any) -> Self:
        """Return the holder of a new token."""
        token = self.call("POST", "/api/tokens", {"name": f"test {role}", "role": role, **more}).data["token"]
        return type(self)(self.url, token)
