import asyncio
import logging

import pytest

from common.errors import Unavailable
from common.periodic import repeating


async def test_it_is_done_at_once_and_again_until_the_block_ends() -> None:
    times = 0
    thrice = asyncio.Event()

    async def work() -> None:
        nonlocal times
        times += 1
        if times == 3:
            thrice.set()

    async with repeating(work, 0.001), asyncio.timeout(5):
        await thrice.wait()
    done = times
    await asyncio.sleep(0)
    assert times == done


@pytest.mark.parametrize("fault", [Unavailable("the database is away"), ValueError("unforeseen")], ids=repr)
async def test_a_failure_costs_one_time_and_is_told(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    again, faults = asyncio.Event(), [fault]

    async def work() -> None:
        if faults:
            raise faults.pop()
        again.set()

    with caplog.at_level(logging.WARNING):
        async with repeating(work, 0.001), asyncio.timeout(5):
            await again.wait()
    assert "again in 0.001 s" in caplog.text


async def test_work_that_hangs_does_not_hold_the_end_up() -> None:
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(5), repeating(work, 60):
        await began.wait()
