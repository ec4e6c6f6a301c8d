"""What the checks share: raw HTTP beside the client that is checked, and how a check is told.

The standard library alone: each program brings its client, of whatever version, and that client's dependencies.
"""

import json
import os
import time
import traceback
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

URL = os.environ["CONFORMANCE_URL"]
TOKEN = os.environ["CONFORMANCE_TOKEN"]
SIMULATOR = os.environ["CONFORMANCE_SIMULATOR"]
SEED = os.environ["CONFORMANCE_SEED"]
"""In every prompt that the simulator treats in its own way, so that no other test's prompts are."""

Check = Callable[[], None]
CHECKS: dict[str, Check] = {}


def check(title: str) -> Callable[[Check], Check]:
    """Register a check under what it shows."""

    def register(run: Check) -> Check:
        CHECKS[title] = run
        return run

    return register


def run_all() -> None:
    """Run every check, and tell each as a line of JSON."""
    for title, run in CHECKS.items():
        error, began = None, time.monotonic()
        try:
            run()
        except Exception:  # noqa: BLE001 - whatever it is, the check has failed, and the others go on
            error = traceback.format_exc()
        print(json.dumps({"check": title, "error": error, "seconds": time.monotonic() - began}), flush=True)


@dataclass(frozen=True)
class Raw:
    """An answer, byte for byte."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """Its JSON."""
        return json.loads(self.content)

    @property
    def events(self) -> list[tuple[str | None, str]]:
        """Its server-sent events as (name, data); comments are none."""
        return [_event(block) for block in self.content.decode().split("\n\n") if block and not block.startswith(":")]


def _event(block: str) -> tuple[str | None, str]:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    assert set(fields) <= {"event", "data"}, block
    assert fields["data"], "an empty data line breaks the clients"
    return fields.get("event"), fields["data"]


def raw(path: str, body: Any = None, method: str = "POST", **headers: str) -> Raw:
    """Send a request; underscores in header names become dashes. `body` is bytes, or what JSON can say."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    sent.update({name.replace("_", "-"): value for name, value in headers.items()})
    asked = urllib.request.Request(URL + path, content, sent, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return Raw(answer.status, _lower(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Raw(error.code, _lower(error.headers), error.read())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def failure(kind: type[Exception], call: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
    """Return the error of that very class which the call must raise."""
    caught: Exception | None = None
    try:
        call(*arguments, **fields)
    except kind as error:
        caught = error
    assert type(caught) is kind, caught
    return caught


def received() -> Any:
    """Return the body of the last call that reached the provider."""
    with urllib.request.urlopen(f"{SIMULATOR}/control/last", timeout=10) as answer:
        return json.load(answer)


def calls() -> int:
    """Return how many calls reached the provider."""
    with urllib.request.urlopen(f"{SIMULATOR}/control/calls", timeout=10) as answer:
        return int(json.load(answer)["total"])


def fresh(words: str = "") -> str:
    """Return a prompt that was never asked before; `words` steer the simulator, behind the seed."""
    return f"Name three rivers in Europe, please. {SEED}{words} {uuid.uuid4().hex}"
