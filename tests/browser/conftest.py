"""Browsers for the dashboard's tests, on the stack that all whole-path tests share."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.browser.desk import Desk, opened
from tests.stack import Client

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        if os.environ.get("CI") or "browser" in os.environ.get("TALLYRUN_REQUIRE", ""):
            pytest.fail(f"none of {', '.join(CHROMIUM)} is on the PATH")
        pytest.skip(f"none of {', '.join(CHROMIUM)} is on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def desk_of(chromium: Browser) -> Iterator[Callable[..., Desk]]:
    """Sign clients in; at the end no console may have had anything to say."""
    desks: list[Desk] = []

    def sign_in(client: Client, width: int = 1440) -> Desk:
        desks.append(opened(chromium, client, width))
        return desks[-1]

    yield sign_in
    for desk in desks:
        desk.context.close()
        assert desk.faults == []
