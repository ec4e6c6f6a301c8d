"""The dashboard as a person uses it: signed in, by mouse and keyboard, in a browser that reports every fault."""

import threading
from collections.abc import Callable
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect
from tests.browser.pages import Pages
from tests.browser.watched import Watched
from tests.stack import Client

PATIENCE_MS = 20_000
REFUSED = "Failed to load resource:"
"""What Chromium itself writes of an answer that is an error, or is none, which a test may have meant."""


class Desk(Watched):
    """One person's browser, signed in with a token."""

    def __init__(self, client: Client, page: Page) -> None:
        super().__init__(page, client.url)
        self.client = client

    def provoked(self, text: str) -> bool:
        """Whether it is of an answer."""
        return text.startswith(REFUSED)

    def go(self, view: str) -> Page:
        """Open a view by its address and wait until it is shown."""
        self.page.goto(f"/#{view}")
        self.shown()
        return self.page

    def shown(self) -> None:
        """Wait until the view that the address names is shown."""
        expect(self.page.locator("main")).to_have_attribute("aria-busy", "false", timeout=PATIENCE_MS)

    def dialog(self) -> Locator:
        """The dialog that was opened last."""
        return self.page.get_by_role("dialog").last

    def says(self, text: str) -> None:
        """Wait until the page says how something ended."""
        expect(self.page.locator(".said")).to_contain_text(text, timeout=PATIENCE_MS)

    def get(self, path: str) -> Any:
        """Return the API's own answer."""
        return self.client.call("GET", path).data

    def holds(self, secret: str) -> bool:
        """Whether the secret is anywhere that a script, an extension or the next person at the screen could find it."""
        return bool(self.page.evaluate(EVERYWHERE, secret))

    def blameless(self) -> None:
        """Fail where axe-core finds a serious or critical fault in what is shown."""
        found = Axe().run(self.page).response["violations"]
        grave = [fault for fault in found if fault["impact"] in {"serious", "critical"}]
        assert not grave, [(fault["id"], [node["html"] for node in fault["nodes"]][:3]) for fault in grave]


EVERYWHERE = """secret => {
  const fields = [...document.querySelectorAll("input, textarea")].map((field) => field.value);
  const kept = [localStorage, sessionStorage].flatMap((store) => Object.values(store));
  const all = [...document.querySelectorAll("*")];
  const attributes = all.flatMap((one) => [...one.attributes].map(({ value }) => value));
  return [document.documentElement.outerHTML, location.href, ...fields, ...kept, ...attributes]
    .some((text) => text.includes(secret));
}"""


def elsewhere(work: Callable[[], None]) -> None:
    """Do it in a thread: the browser's own loop runs in this one."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def opened(pages: Pages, client: Client, width: int = 1440) -> Desk:
    """Sign in with the client's token, as the form does, and watch the console."""
    page = pages.take(base_url=client.url, viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    desk = Desk(client, page)
    page.goto("/")
    page.get_by_label("Access token").fill(client.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("navigation", name="Views")).to_be_visible(timeout=PATIENCE_MS)
    return desk
