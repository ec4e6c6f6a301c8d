"""One real stack for all whole-path tests, with the simulated provider. Each test has a workspace of its own."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stack import Client, RunningSimulator, Simulator, Stack

from common.engines.ports import free_port

SYNC_WAIT_SECONDS = 6
CALL_SECONDS = 2
"""Shorter than a user's, so that the rows about waiting take seconds: 30 and 600 are the defaults."""

KEEP_ALIVE_SECONDS = 0.5
"""Shorter than the default, 15, for the same reason."""

SESSION_SECONDS = 6
"""Shorter than the default, 10: a killed member holds its partitions this long."""

RUNNER_SLOTS = 50
"""Calls in flight at most: what a killed runner may have to repeat."""


def composed(config: pytest.Config) -> bool:
    """Whether the tests are for a stack of containers that runs already: `make compose-test` says where."""
    return bool(config.getoption("--stack") == "compose")


@pytest.fixture(scope="session")
def simulator(pytestconfig: pytest.Config) -> Iterator[Simulator]:
    running = RunningSimulator(os.environ["SIMULATOR_URL"]) if composed(pytestconfig) else Simulator(free_port())
    yield running
    running.stop()


@pytest.fixture(scope="session")
def stack(
    simulator: Simulator, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Stack]:
    if composed(pytestconfig):
        pytest.skip("it looks at the stack's own processes, files or broker, and containers show none of them")
    folder = tmp_path_factory.mktemp("stack")
    unreachable = {"name": "dark", "wire": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1"}
    (folder / "providers.json").write_text(json.dumps([unreachable]))
    environment = {
        "OPENAI_BASE_URL": f"{simulator.url}/v1",
        "ANTHROPIC_BASE_URL": simulator.url,
        "PROVIDERS_FILE": str(folder / "providers.json"),
        "SYNC_WAIT_SECONDS": str(SYNC_WAIT_SECONDS),
        "KEEP_ALIVE_SECONDS": str(KEEP_ALIVE_SECONDS),
        "CALL_SECONDS": str(CALL_SECONDS),
        "RUNNER_SLOTS": str(RUNNER_SLOTS),
        "SESSION_SECONDS": str(SESSION_SECONDS),
    }
    started = Stack(folder / "home", free_port(), environment)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def admin(request: pytest.FixtureRequest) -> Client:
    """The operator."""
    if composed(request.config):
        return Client(os.environ["TALLYRUN_URL"], Path(os.environ["ADMIN_TOKEN_FILE"]).read_text())
    operator: Client = request.getfixturevalue("stack").admin()
    return operator


@pytest.fixture
def stranger(admin: Client) -> Client:
    """An admin of a fresh workspace, with no key connected."""
    return admin.member_of_new_workspace(f"test {uuid.uuid4()}")


@pytest.fixture
def client(stranger: Client) -> Client:
    """An admin of a fresh workspace, with a key for both providers."""
    for provider in ("openai", "anthropic"):
        assert stranger.connect(provider, f"key-{uuid.uuid4().hex}").status == 200
    return stranger


@pytest.fixture
def unique() -> str:
    """A word that no other test's prompts contain."""
    return uuid.uuid4().hex
