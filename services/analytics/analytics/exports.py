"""Runs as files of any size: CSV, Parquet, or charges as FOCUS has them; a page of time after the other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any
from uuid import UUID

from analytics.database import Database
from analytics.parquet import Parquet
from analytics.question import Question, question_of
from analytics.spans import Stretch, stretches
from common.contracts.usage_v1 import ExportAsked
from common.ids import now_ms

PAGE = 50_000
TEXTS_PAGE = 1_000
TEXTS_BYTES = 32 * 1024 * 1024
"""A page with texts holds so many executions, and texts of this size together or those of a single millisecond."""

AT_ONCE = 2
"""Pages that are read at the same time: the other connections answer questions."""

LAST_PLACE = 2**64 - 1
NOTHING = Stretch(0, 1, 0)
"""A page of no runs has the columns all the same."""


class Exports:
    """Writes one workspace's runs at a time; what lies in memory is a page."""

    def __init__(self, database: Database, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def file(self, workspace: UUID, asked: ExportAsked) -> AsyncIterator[bytes]:
        """Yield the file in pieces; raise `InvalidRequest` before the first of them."""
        question = question_of(asked, self._clock())
        match asked.format:
            case "parquet":
                parquet = Parquet()
                async for page in self._pages(workspace, question, texts=asked.texts, fmt="ArrowStream"):
                    yield await asyncio.to_thread(parquet.add, page)
                yield parquet.end()
            case "focus":
                async for page in self._charges(workspace, question):
                    yield page
            case _:
                async for page in self._pages(workspace, question, texts=asked.texts, fmt="CSV"):
                    yield page

    async def _pages(self, workspace: UUID, question: Question, *, texts: bool, fmt: str) -> AsyncIterator[bytes]:
        query = "export_texts" if texts else "export_runs"
        asked = {"workspace": workspace, **question.parameters(question.days)}
        yield await self._written(query, f"{fmt}WithNames" if fmt == "CSV" else fmt, NOTHING, asked)
        async for stretch in self._stretches(workspace, question, TEXTS_PAGE if texts else PAGE):
            for part in await self._fitting(workspace, stretch) if texts else [stretch]:
                yield await self._written(query, fmt, part, asked)

    async def _charges(self, workspace: UUID, question: Question) -> AsyncIterator[bytes]:
        asked = {"workspace": workspace, **question.parameters(question.days)}
        everywhere = {"first_place": 0, "last_place": LAST_PLACE}
        yield await self._written("export_focus", "CSVWithNames", NOTHING, asked | everywhere)
        async for hour in _whole_hours(self._stretches(workspace, question, PAGE)):
            for first, last in _shares(1 + hour.executions // PAGE):
                places = {"first_place": first, "last_place": last}
                yield await self._written("export_focus", "CSV", hour, asked | places)

    def _stretches(self, workspace: UUID, question: Question, most: int) -> AsyncIterator[Stretch]:
        days = question.days
        return stretches(self._database, workspace, days.start * 1000, days.end * 1000, most)

    async def _written(self, query: str, fmt: str, stretch: Stretch, asked: dict[str, Any]) -> bytes:
        async with self._turns:
            return await self._database.written(query, fmt, **{**asked, **stretch.parameters()})

    async def _fitting(self, workspace: UUID, stretch: Stretch) -> list[Stretch]:
        """Return the stretch in parts whose texts fit into a page."""
        [row] = await self._database.rows("text_bytes", workspace=workspace, **stretch.parameters())
        if row["bytes"] <= TEXTS_BYTES or stretch.until - stretch.since == 1:
            return [stretch]
        middle = (stretch.since + stretch.until) // 2
        halves = stretch._replace(until=middle), stretch._replace(since=middle)
        return [part for half in halves for part in await self._fitting(workspace, half)]


async def _whole_hours(parts: AsyncIterator[Stretch]) -> AsyncIterator[Stretch]:
    """Join the parts of an hour: a charge is of a whole one."""
    whole: Stretch | None = None
    async for part in parts:
        if whole is not None and part.parameters()["from"] != whole.parameters()["to"]:
            yield whole
            whole = None
        whole = part if whole is None else Stretch(whole.since, part.until, whole.executions + part.executions)
    if whole is not None:
        yield whole


def _shares(count: int) -> list[tuple[int, int]]:
    """Return the range of all hashes in so many ranges, first and last included."""
    edges = [(LAST_PLACE + 1) * n // count for n in range(count + 1)]
    return [(first, after - 1) for first, after in pairwise(edges)]
