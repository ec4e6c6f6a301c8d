"""An answer that comes in events: each is handed on as it arrives, and the whole is put together at the end."""

from collections.abc import Mapping
from typing import Any, Protocol

import httpx2
from pydantic import SecretStr
from pydantic_core import to_json

from runner.providers.allowance import limits_in
from runner.providers.answer import Hearing
from runner.providers.connections import bearer, timeouts
from runner.providers.failures import Callee, broken_off, json_object, reach

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""Of one event; a larger one breaks the stream off."""


class Assembly(Protocol):
    """What the events so far add up to."""

    done: bool
    """Whether the answer is whole."""

    def add(self, event: dict[str, Any]) -> None:
        """Take the next event in; raise what Python raises for one that lacks what it must have."""

    def end(self) -> None:
        """Note that the provider says it has ended."""

    def whole(self) -> dict[str, Any]:
        """Return the body that the provider would have answered without streaming."""


async def streamed(
    http: httpx2.AsyncClient,
    url: str,
    body: dict[str, Any],
    callee: Callee,
    timeout_seconds: float,
    assembly: Assembly,
    hearing: Hearing,
) -> httpx2.Response:
    """Send the body and hear the answer out; raise `CallFailed`, also where it ends before it is whole.

    A provider that answers as a whole all the same has its body in the response, and nothing is heard.
    """
    request = http.build_request(
        "POST", url, content=to_json(body), headers=_headers(callee.secret), timeout=timeouts(timeout_seconds)
    )
    response = await reach(_hear_out(http, request, _Listener(callee, assembly, hearing)), callee, timeout_seconds)
    if is_stream(response) and not assembly.done:
        raise broken_off(callee)
    return response


def is_stream(response: httpx2.Response) -> bool:
    """Whether the response came in events."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


async def _hear_out(http: httpx2.AsyncClient, request: httpx2.Request, listener: "_Listener") -> httpx2.Response:
    response = await http.send(request, stream=True)
    try:
        if response.is_success and is_stream(response):
            listener.begin(response.headers)
            async for event in httpx2.EventSource(response, MAX_EVENT_BYTES):
                listener.hear(event.data)
        else:
            await response.aread()
    finally:
        await response.aclose()
    return response


def _headers(secret: SecretStr) -> dict[str, str]:
    return {**bearer(secret), "Accept": "text/event-stream"}


class _Listener:
    """Reads events, looks out for an error among them, and passes on what is part of the answer."""

    def __init__(self, callee: Callee, assembly: Assembly, hearing: Hearing) -> None:
        self._callee = callee
        self._assembly = assembly
        self._hearing = hearing

    def begin(self, headers: Mapping[str, str]) -> None:
        self._hearing.limits = limits_in(headers)

    def hear(self, data: str) -> None:
        if data == "[DONE]":  # OpenAI's end, and no JSON
            self._assembly.end()
        elif data:
            self._add(self._read(data))
            self._hearing.heard(self._callee.hide(data))

    def _add(self, event: dict[str, Any]) -> None:
        try:
            self._assembly.add(event)
        except (LookupError, TypeError, AttributeError):
            why = "an event that lacks what it must have"
        else:
            return
        raise broken_off(self._callee, why)

    def _read(self, data: str) -> dict[str, Any]:
        if not (event := json_object(data)):
            raise broken_off(self._callee, "an event that is no JSON object")
        if error := event.get("error"):
            raise broken_off(self._callee, self._callee.hide(_words(error)))
        return event


def _words(error: object) -> str:
    return str(error.get("message", "")) if isinstance(error, dict) else str(error)
