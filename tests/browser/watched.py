"""A page whose faults are written down."""

from typing import Any

from playwright.sync_api import ConsoleMessage, Error, Page, Request


class Watched:
    """`faults`: what a user would call one: console errors, script errors, requests that leave the origin."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.faults: list[str] = []
        self._origin = origin
        self._listeners: list[tuple[Any, Any]] = []
        self.hear("console", self._console)
        self.hear("pageerror", self._script)
        self.hear("request", self._request)

    def hear(self, event: Any, listener: Any) -> None:
        """Let the listener hear the page's event until it is left."""
        self.page.on(event, listener)
        self._listeners.append((event, listener))

    def leave(self) -> None:
        """Hear nothing more of the page."""
        for event, listener in self._listeners:
            self.page.remove_listener(event, listener)

    def provoked(self, text: str) -> bool:
        """Whether the console says this because the test meant it to."""
        raise NotImplementedError

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not self.provoked(message.text):
            self.faults.append(f"console: {message.text}")

    def _script(self, error: Error) -> None:
        self.faults.append(f"script: {error}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "data:", "blob:")):
            self.faults.append(f"outside: {request.url}")
