"""Identical questions in flight are answered once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Singleflight(Generic[T]):
    """Lets everybody who asks the same question meanwhile wait for the first one's answer."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, asyncio.Task[T]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the answer; one who goes away does not take it from the others."""
        flight = self._flying.get(key)
        if flight is None:
            flight = self._flying[key] = asyncio.create_task(question())
            flight.add_done_callback(lambda _: self._flying.pop(key))
        return await asyncio.shield(flight)
