"""The dashboard in a real browser, on the stack of the whole-path tests, with weeks of runs behind it."""

import asyncio
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import expect, sync_playwright
from tests.browser.dashboard import Dashboard
from tests.browser.desk import PATIENCE_MS, Desk, elsewhere
from tests.browser.desk import opened as desk_opened
from tests.browser.history import history, publish
from tests.browser.pages import Pages
from tests.stack import Client, Stack, until

from common.contracts.runs_v1 import RunCompleted

expect.set_options(timeout=PATIENCE_MS)

DAYS = 40
A_DAY = 9
"""More than the thirty days that are shown first, so that there is a period before."""


@dataclass(frozen=True)
class Shown:
    """A workspace with a history: an admin's client, and the completions of its runs."""

    client: Client
    workspace_id: UUID
    events: list[RunCompleted]

    def usage(self, **asked: Any) -> Any:
        """Return what the API answers, money with every digit."""
        pairs = [
            f"{name}={one}" for name, value in asked.items() for one in (value if isinstance(value, list) else [value])
        ]
        return self.client.call("GET", f"/api/analytics/usage?{'&'.join(pairs)}").data


@pytest.fixture(scope="session")
def shown(stack: Stack) -> Shown:
    """The workspace whose figures the tests look at; they change nothing in it that a figure counts."""
    client = stack.admin().member_of_new_workspace(f"browser {uuid.uuid4()}")
    workspace_id = UUID(client.call("GET", "/api/workspaces").data[0]["id"])
    events = list(history(workspace_id, DAYS, A_DAY))
    elsewhere(lambda: asyncio.run(publish(stack.kafka, events)))
    runs = len({event.run_id for event in events})
    seen = Shown(client, workspace_id, events)
    until(lambda: bool(seen.usage(period="90d")["totals"]["runs"] == runs), f"{runs} runs are counted")
    return seen


def _chromium() -> str:
    """Return the browser's path; without one skip, and say so, unless it was required."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is not None:
        return found
    reason = "no Chromium on PATH: the dashboard is not looked at"
    if "CI" in os.environ or "browser" in os.environ.get("TALLYRUN_REQUIRE", "").split(","):
        pytest.fail(reason)
    print(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser_pages() -> Iterator[Pages]:
    """A browser for one file's tests: its loop must not outlive them, other files' tests have loops of their own."""
    path = _chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield Pages(browser)
        browser.close()


@pytest.fixture
def pages(browser_pages: Pages) -> Iterator[Pages]:
    """Pages for one test."""
    yield browser_pages
    browser_pages.take_back()


Opened = Callable[..., Dashboard]


@pytest.fixture
def opened(pages: Pages, stack: Stack, shown: Shown) -> Iterator[Opened]:
    """Open dashboards: of the shown workspace's admin, or of another token; settings are those of a browser context.

    At the end each must have met no error, and have asked nobody but the gateway.
    """
    made: list[Dashboard] = []

    def open_as(token: str | None = shown.client.token, **settings: Any) -> Dashboard:
        usual: dict[str, Any] = {
            "timezone_id": "Europe/Berlin",
            "locale": "en-GB",
            "viewport": {"width": 1280, "height": 800},
        }
        made.append(Dashboard(pages.take(**usual | settings), stack.url))
        if token is not None:
            made[-1].sign_in_quietly(token)
        return made[-1]

    yield open_as
    for dashboard in made:
        dashboard.leave()
    for dashboard in made:
        assert dashboard.faults == []


@pytest.fixture
def dashboard(opened: Opened) -> Dashboard:
    """A dashboard with the shown workspace's admin signed in."""
    return opened()


@pytest.fixture
def desk_of(pages: Pages) -> Iterator[Callable[..., Desk]]:
    """Sign clients in; at the end no console may have had anything to say."""
    desks: list[Desk] = []

    def sign_in(client: Client, width: int = 1440) -> Desk:
        desks.append(desk_opened(pages, client, width))
        return desks[-1]

    yield sign_in
    for desk in desks:
        desk.leave()
        assert desk.faults == []
