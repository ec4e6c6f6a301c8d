"""Whose turn it is: interactive before bulk, workspaces by turns, first come first served within one flow."""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from common.ids import now_ms
from runner.limits import Flow


class Item(Protocol):
    """What waits for its turn."""

    @property
    def flow(self) -> Flow:
        """What limits it."""

    @property
    def deadline(self) -> int:
        """When it must not wait any longer (UTC ms), whatever limits it."""

    @property
    def bulk(self) -> bool:
        """Whether interactive items go before it."""


T = TypeVar("T", bound=Item)

Room = Callable[[Flow], float]
"""How long a flow has to wait, in seconds: 0 is now, infinity is "until `wake`"."""


class Turns(Generic[T]):
    """Queues by workspace and flow, served one item each in rotation, past those that have to wait."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._workspaces: OrderedDict[UUID, OrderedDict[Flow, deque[T]]] = OrderedDict()

    def put(self, item: T, *, first: bool) -> None:
        """Queue behind its flow's own, or before them."""
        queue = self._workspaces.setdefault(item.flow.workspace_id, OrderedDict()).setdefault(item.flow, deque())
        (queue.appendleft if first else queue.append)(item)

    def pop(self) -> T | None:
        """Return the item whose turn it is, and send its flow and its workspace to the back; None if all must wait."""
        flow = next((flow for flow, queue in self._queues() if self._wait(flow, queue) <= 0), None)
        return None if flow is None else self._serve(flow)

    def next_chance(self) -> float:
        """Return the seconds until an item need not wait any more, as far as time alone can tell."""
        return min((self._wait(flow, queue) for flow, queue in self._queues()), default=math.inf)

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Drop every item that is not wanted any more."""
        kept = [item for _, queue in self._queues() for item in queue if wanted(item)]
        self._workspaces.clear()
        for item in kept:
            self.put(item, first=False)

    def _queues(self) -> Iterator[tuple[Flow, deque[T]]]:
        for flows in self._workspaces.values():
            yield from flows.items()

    def _wait(self, flow: Flow, queue: deque[T]) -> float:
        return min(self._room(flow), (queue[0].deadline - now_ms()) / 1000)

    def _serve(self, flow: Flow) -> T:
        flows = self._workspaces.pop(flow.workspace_id)
        queue = flows.pop(flow)
        item = queue.popleft()
        if queue:
            flows[flow] = queue
        if flows:
            self._workspaces[flow.workspace_id] = flows
        return item


class Schedule(Generic[T]):
    """What waits to be carried out."""

    def __init__(self, room: Room) -> None:
        self._interactive: Turns[T] = Turns(room)
        self._bulk: Turns[T] = Turns(room)
        self._changed = asyncio.Event()

    def put(self, item: T, *, first: bool = False) -> None:
        """Queue an item; `first` before the others of its flow, since it has waited before."""
        (self._bulk if item.bulk else self._interactive).put(item, first=first)
        self._changed.set()

    def wake(self) -> None:
        """Look again: something that was limited may have room."""
        self._changed.set()

    async def get(self) -> T:
        """Return the item whose turn it is, waiting for one."""
        while (item := self._interactive.pop() or self._bulk.pop()) is None:
            self._changed.clear()
            chance = min(self._interactive.next_chance(), self._bulk.next_chance())
            with suppress(TimeoutError):
                async with asyncio.timeout(None if chance == math.inf else max(chance, 0)):
                    await self._changed.wait()
        return item

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Drop every item that is not wanted any more: those of partitions that were taken away."""
        self._interactive.keep(wanted)
        self._bulk.keep(wanted)
