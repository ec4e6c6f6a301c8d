"""A dashboard in a browser, as a test drives it."""

from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Page, Response
from tests.browser.watched import Watched

SETTLED_MS = 15_000


class Dashboard(Watched):
    """A page on the dashboard."""

    def __init__(self, page: Page, url: str) -> None:
        super().__init__(page, url)
        self.context = page.context
        self.url = url
        self.requested: list[Response] = []
        self.expected: set[int] = set()
        """Statuses that a test provokes: a browser prints each as an error."""
        self.hear("response", self._response)

    def provoked(self, text: str) -> bool:
        """Whether it is of a status that is expected."""
        return any(f"status of {status}" in text for status in self.expected)

    def sign_in_quietly(self, token: str) -> None:
        """Start a session without the form, as its request would."""
        headers = {"origin": self.url, "sec-fetch-site": "same-origin"}
        answer = self.context.request.post(f"{self.url}/api/session", data={"token": token}, headers=headers)
        assert answer.status == 200, answer.text()

    def open(self, view: str = "", **params: Any) -> Page:
        """Go to a view, and return once it is shown."""
        query = urlencode(params, doseq=True)
        self.page.goto(f"{self.url}/#{view}{'?' if query else ''}{query}" if view else self.url)
        return self.settled()

    def settled(self) -> Page:
        """Return once what the address names is shown."""
        self.page.wait_for_selector('main[aria-busy="false"] > *', timeout=SETTLED_MS)
        return self.page

    def drawn(self, title: str) -> None:
        """Return once the chart of this title is drawn."""
        self.page.locator("figure", has_text=title).locator(".main-svg").first.wait_for(timeout=SETTLED_MS)

    def rows(self, table: str) -> list[list[str]]:
        """Return the texts of a table's body, row by row."""
        cells = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
        found: list[list[str]] = self.page.locator(f"{table} tbody tr").evaluate_all(cells)
        return found

    def card(self, name: str) -> str:
        """Return the figure of a card."""
        return (
            self.page.locator(".card", has=self.page.locator(f'dt:text-is("{name}")')).locator(".figure").inner_text()
        )

    def _response(self, response: Response) -> None:
        self.requested.append(response)
