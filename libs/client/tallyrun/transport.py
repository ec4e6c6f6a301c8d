"""Two ways to send the same calls: one that blocks, one that awaits. Nothing else here knows which."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx2

from tallyrun.credentials import Credentials
from tallyrun.errors import NotUnderstood, TallyrunError, Unreachable
from tallyrun.retries import Retries, Waiting
from tallyrun.wire import Call, answered, parsed, refusal, understood

TIMEOUT = httpx2.Timeout(120, connect=5)
"""Seconds. Longer than any call takes, so that an answer is not missed; a gateway that is gone is noticed at once."""

T = TypeVar("T")


class Transport:
    """Sends calls and blocks until they are answered."""

    def __init__(self, credentials: Credentials, patience: float, waiting: Waiting) -> None:
        self.patience = patience
        self._waiting = waiting
        self._url = credentials.url
        self._http = httpx2.Client(**_options(credentials))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def retries(self) -> Retries:
        """Return the patience for one call or stream."""
        return Retries(self.patience, self._waiting)

    def send(self, call: Call[T]) -> T:
        """Return what the call is answered, sent as often as it takes."""
        retries = self.retries()
        while True:
            try:
                with _reaching(self._url):
                    return answered(self._http.request(call.method, call.path, **call.options()), call.read)
            except TallyrunError as error:
                self.sleep(retries.wait(error))

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def lines(self, call: Call[T]) -> Iterator[T]:
        """Yield what each line of the answer says, as it comes; sent once. The call reads text."""
        with self._opened(call) as answer:
            for line in answer.iter_lines():
                if line:
                    yield understood(answer, line, call.read)

    def pieces(self, call: Call[None]) -> Iterator[bytes]:
        """Yield the answer's bytes as they come, unpacked; sent once."""
        with self._opened(call) as answer:
            yield from answer.iter_bytes()

    def events(self, call: Call[T]) -> Iterator[T]:
        """Yield the data of each event as it comes; sent once."""
        with self._opened(call) as answer:
            for event in httpx2.EventSource(answer):
                if event.data != "[DONE]":
                    yield understood(answer, _named(answer, event.data), call.read)

    @contextmanager
    def _opened(self, call: Call[Any]) -> Iterator[httpx2.Response]:
        with _reaching(self._url), self._http.stream(call.method, call.path, **call.options()) as answer:
            if not answer.is_success:
                answer.read()
                raise refusal(answer, parsed(answer.text))
            yield answer


class AsyncTransport:
    """Sends calls and awaits their answers."""

    def __init__(self, credentials: Credentials, patience: float, waiting: Waiting) -> None:
        self.patience = patience
        self._waiting = waiting
        self._url = credentials.url
        self._http = httpx2.AsyncClient(**_options(credentials))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def retries(self) -> Retries:
        """Return the patience for one call or stream."""
        return Retries(self.patience, self._waiting)

    async def send(self, call: Call[T]) -> T:
        """Return what the call is answered, sent as often as it takes."""
        retries = self.retries()
        while True:
            try:
                with _reaching(self._url):
                    return answered(await self._http.request(call.method, call.path, **call.options()), call.read)
            except TallyrunError as error:
                await self.sleep(retries.wait(error))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def lines(self, call: Call[T]) -> AsyncIterator[T]:
        """Yield what each line of the answer says, as it comes; sent once. The call reads text."""
        async with self._opened(call) as answer:
            async for line in answer.aiter_lines():
                if line:
                    yield understood(answer, line, call.read)

    async def pieces(self, call: Call[None]) -> AsyncIterator[bytes]:
        """Yield the answer's bytes as they come, unpacked; sent once."""
        async with self._opened(call) as answer:
            async for piece in answer.aiter_bytes():
                yield piece

    async def events(self, call: Call[T]) -> AsyncIterator[T]:
        """Yield the data of each event as it comes; sent once."""
        async with self._opened(call) as answer:
            async for event in httpx2.EventSource(answer):
                if event.data != "[DONE]":
                    yield understood(answer, _named(answer, event.data), call.read)

    @asynccontextmanager
    async def _opened(self, call: Call[Any]) -> AsyncIterator[httpx2.Response]:
        with _reaching(self._url):
            async with self._http.stream(call.method, call.path, **call.options()) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise refusal(answer, parsed(answer.text))
                yield answer


def _options(credentials: Credentials) -> dict[str, Any]:
    """Return what the HTTP client is made with; where there is no TLS no certificates are read, which takes a while."""
    encrypted = not credentials.url.startswith("http:")
    return {"base_url": credentials.url, "headers": credentials.headers(), "timeout": TIMEOUT, "verify": encrypted}


def _named(answer: httpx2.Response, event: str) -> dict[str, Any]:
    """Return an event with the id of the request that it answers: the run's."""
    return {**parsed(event), "requestId": answer.headers.get("x-request-id")}


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    """Raise `Unreachable` where there is no answer, or none to its end."""
    try:
        yield
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
        raise NotUnderstood(f"{url} is no address of a gateway: {error}") from error
    except httpx2.TransportError as error:
        raise Unreachable(f"{url} does not answer: {error or type(error).__name__}") from error
