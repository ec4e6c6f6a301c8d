"""Whose turn it is: interactive before bulk, workspaces by turns, first come first served within one."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")


class Turns(Generic[T]):
    """Queues by workspace, served one item each in rotation."""

    def __init__(self) -> None:
        self._queues: OrderedDict[UUID, deque[T]] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._queues)

    def put(self, workspace: UUID, item: T) -> None:
        """Queue behind the workspace's own."""
        self._queues.setdefault(workspace, deque()).append(item)

    def pop(self) -> T:
        """Return the next item of the workspace whose turn it is, and send that workspace to the back."""
        workspace, queue = self._queues.popitem(last=False)
        item = queue.popleft()
        if queue:
            self._queues[workspace] = queue
        return item

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Drop every item that is not wanted any more."""
        kept = {workspace: deque(filter(wanted, queue)) for workspace, queue in self._queues.items()}
        self._queues = OrderedDict((workspace, queue) for workspace, queue in kept.items() if queue)


class Schedule(Generic[T]):
    """What waits to be carried out."""

    def __init__(self) -> None:
        self._interactive: Turns[T] = Turns()
        self._bulk: Turns[T] = Turns()
        self._some = asyncio.Event()

    def put(self, workspace: UUID, item: T, *, bulk: bool) -> None:
        """Queue an item."""
        (self._bulk if bulk else self._interactive).put(workspace, item)
        self._some.set()

    async def get(self) -> T:
        """Return the item whose turn it is, waiting for one."""
        while not (turns := self._interactive or self._bulk):
            self._some.clear()
            await self._some.wait()
        return turns.pop()

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Drop every item that is not wanted any more: those of partitions that were taken away."""
        self._interactive.keep(wanted)
        self._bulk.keep(wanted)
