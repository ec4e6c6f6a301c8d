"""Whose turn it is."""

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

from common.ids import now_ms
from runner.limits import Flow
from runner.schedule import Schedule

BIG, SMALL = uuid4(), uuid4()


@dataclass
class Item:
    name: str
    flow: Flow
    bulk: bool = False
    deadline: int = 2**42


def item(workspace: UUID, name: str, *, model: str = "m", bulk: bool = False) -> Item:
    return Item(name, Flow(workspace, "openai", model), bulk)


class Room:
    """How long each flow has to wait."""

    def __init__(self) -> None:
        self.waits: dict[Flow, float] = {}

    def __call__(self, flow: Flow) -> float:
        return self.waits.get(flow, 0)


def scheduled(*items: Item, room: Room | None = None) -> Schedule[Item]:
    schedule: Schedule[Item] = Schedule(room or Room())
    for waiting in items:
        schedule.put(waiting)
    return schedule


async def order(schedule: Schedule[Item], count: int) -> list[str]:
    return [(await schedule.get()).name for _ in range(count)]


async def test_workspaces_take_turns() -> None:
    schedule = scheduled(*[item(BIG, f"big {n}") for n in range(3)], item(SMALL, "small"))
    assert await order(schedule, 4) == ["big 0", "small", "big 1", "big 2"]


async def test_the_flows_of_a_workspace_take_turns() -> None:
    schedule = scheduled(item(BIG, "a 0", model="a"), item(BIG, "a 1", model="a"), item(BIG, "b 0", model="b"))
    assert await order(schedule, 3) == ["a 0", "b 0", "a 1"]


async def test_interactive_goes_before_bulk() -> None:
    schedule = scheduled(item(BIG, "bulk", bulk=True), item(SMALL, "interactive"))
    assert await order(schedule, 2) == ["interactive", "bulk"]


async def test_a_flow_that_has_to_wait_holds_nobody_up() -> None:
    room = Room()
    held = item(BIG, "held", model="limited")
    room.waits[held.flow] = 60
    schedule = scheduled(held, item(BIG, "free"), item(SMALL, "bulk", bulk=True), room=room)
    assert await order(schedule, 2) == ["free", "bulk"]
    room.waits.clear()
    schedule.wake()
    assert await order(schedule, 1) == ["held"]


async def test_a_wait_that_is_over_is_noticed_without_being_told() -> None:
    held = item(BIG, "held")
    until = asyncio.get_running_loop().time() + 0.05
    schedule: Schedule[Item] = Schedule(lambda _: until - asyncio.get_running_loop().time())
    schedule.put(held)
    assert await schedule.get() is held
    assert asyncio.get_running_loop().time() >= until


async def test_what_has_no_time_left_waits_for_no_room() -> None:
    late = item(BIG, "late")
    late.deadline = now_ms() + 50
    room = Room()
    room.waits[late.flow] = 3600
    assert await scheduled(late, room=room).get() is late
    assert now_ms() >= late.deadline


async def test_who_comes_again_goes_before_its_flow() -> None:
    schedule = scheduled(item(BIG, "second"))
    schedule.put(item(BIG, "first"), first=True)
    assert await order(schedule, 2) == ["first", "second"]


async def test_get_waits_for_an_item() -> None:
    schedule = scheduled()
    waiting = asyncio.create_task(schedule.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    late = item(BIG, "late")
    schedule.put(late)
    assert await waiting is late


async def test_items_of_lost_partitions_are_dropped() -> None:
    schedule = scheduled(item(BIG, "lost"), item(BIG, "kept"), item(SMALL, "lost", bulk=True))
    schedule.keep(lambda waiting: waiting.name == "kept")
    schedule.put(item(SMALL, "new", bulk=True))
    assert await order(schedule, 2) == ["kept", "new"]
