"""Whose turn it is."""

import asyncio
from uuid import UUID, uuid4

from runner.schedule import Schedule

BIG, SMALL = uuid4(), uuid4()


def scheduled(*items: tuple[UUID, str, bool]) -> Schedule[str]:
    schedule: Schedule[str] = Schedule()
    for workspace, item, bulk in items:
        schedule.put(workspace, item, bulk=bulk)
    return schedule


async def order(schedule: Schedule[str], count: int) -> list[str]:
    return [await schedule.get() for _ in range(count)]


async def test_workspaces_take_turns() -> None:
    schedule = scheduled(*[(BIG, f"big {n}", False) for n in range(3)], (SMALL, "small", False))
    assert await order(schedule, 4) == ["big 0", "small", "big 1", "big 2"]


async def test_interactive_goes_before_bulk() -> None:
    schedule = scheduled((BIG, "bulk", True), (SMALL, "interactive", False))
    assert await order(schedule, 2) == ["interactive", "bulk"]


async def test_get_waits_for_an_item() -> None:
    schedule: Schedule[str] = Schedule()
    waiting = asyncio.create_task(schedule.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    schedule.put(BIG, "late", bulk=False)
    assert await waiting == "late"


async def test_items_of_lost_partitions_are_dropped() -> None:
    schedule = scheduled((BIG, "lost", False), (BIG, "kept", False), (SMALL, "lost", True))
    schedule.keep(lambda item: item == "kept")
    schedule.put(SMALL, "new", bulk=True)
    assert await order(schedule, 2) == ["kept", "new"]
