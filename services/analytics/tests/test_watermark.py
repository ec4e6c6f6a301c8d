"""The loop that looks how far the log is stored."""

import asyncio

import pytest

from analytics import watermark as looking
from analytics.watermark import Watermark


async def test_a_look_that_fails_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = asyncio.Queue[int]()

    async def look(_: Watermark) -> None:
        looks.put_nowait(1)
        raise LookupError("a fault of ours")

    monkeypatch.setattr(looking, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(Watermark, "look", look)
    running = asyncio.create_task(Watermark("nowhere", "nobody").run())
    async with asyncio.timeout(5):
        await looks.get()
        await looks.get()
    running.cancel()
