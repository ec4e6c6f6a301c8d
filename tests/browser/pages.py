"""Pages of one browser, used by one test after the other."""

from typing import Any

from playwright.sync_api import Browser, Page


class Pages:
    """Hands pages out and takes them back, emptied: a page that has drawn before draws its first chart in a third of
    the time, since its browser keeps the compiled library.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._idle: dict[str, list[Page]] = {}
        self._taken: list[tuple[str, Page]] = []

    def take(self, **settings: Any) -> Page:
        """Return a page that knows nothing, of a browser context with these settings."""
        named = repr(sorted(settings.items()))
        idle = self._idle.setdefault(named, [])
        page = idle.pop() if idle else self._browser.new_context(**settings).new_page()
        self._taken.append((named, page))
        return page

    def take_back(self) -> None:
        """Empty all that were taken."""
        for named, page in self._taken:
            _empty(page)
            self._idle[named].append(page)
        self._taken.clear()


def _empty(page: Page) -> None:
    page.unroute_all()
    page.context.clear_cookies()
    if page.url.startswith("http"):
        page.evaluate("localStorage.clear(); sessionStorage.clear()")
    page.goto("about:blank")
