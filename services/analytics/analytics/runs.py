"""Single runs: pages of them, newest first, and one of them whole."""

import base64
import binascii
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from analytics import views
from analytics.database import Database
from analytics.hours import LAST, hour_of
from analytics.listing import Listing, listing_of
from common.contracts.answers_v1 import RunDetail, RunPage, RunSummary
from common.contracts.runs_asked_v1 import RunsAsked
from common.errors import InvalidRequest, NotFound, Unavailable
from common.ids import now_ms

WAIT_SECONDS = 2.0
APPENDED_WITHIN_MS = 30_000
"""A request is appended this soon after the time its id gives it, clocks that differ included."""

Row = dict[str, Any]


class Reading(Protocol):
    """How far the topics are stored."""

    async def passes(self, time: int, within: float) -> bool:
        """Return whether everything appended before `time` (UTC ms) is stored, after `within` seconds at most."""


class Place(NamedTuple):
    """A place in the list, which runs from the newest run to the oldest."""

    accepted_at: int
    run_id: UUID

    def encode(self) -> str:
        """Return the cursor that stands for it."""
        return base64.urlsafe_b64encode(f"{self.accepted_at}.{self.run_id}".encode()).decode()

    @classmethod
    def decode(cls, cursor: str) -> "Place":
        """Read a cursor, or raise `InvalidRequest`."""
        try:
            at, _, run_id = base64.urlsafe_b64decode(cursor).decode().partition(".")
            return cls(int(at), UUID(run_id))
        except (binascii.Error, ValueError) as error:
            raise InvalidRequest("cursor: not one that a page of runs answered") from error


class Runs:
    """Answers for one workspace at a time."""

    def __init__(self, database: Database, reading: Reading, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._reading = reading
        self._clock = clock

    async def page(self, workspace: UUID, asked: RunsAsked) -> RunPage:
        """Return at most `limit` runs, the newest first, and the cursor of the page after them."""
        listing = listing_of(asked, self._clock(), Place.decode(asked.cursor) if asked.cursor else None)
        found = await self._places(workspace, listing, asked.limit + 1)
        places = found[: asked.limit]
        runs = await self._summaries(workspace, places)
        return RunPage(runs=runs, next_cursor=places[-1].encode() if len(found) > asked.limit else None)

    async def _places(self, workspace: UUID, listing: Listing, limit: int) -> list[Place]:
        rows: list[Row] = []
        for window in listing.windows():
            rows = await self._database.rows("run_page", workspace=workspace, limit=limit, **window)
            if len(rows) == limit:
                break
        return [Place(row["accepted_at"], row["run_id"]) for row in rows]

    async def _summaries(self, workspace: UUID, places: Sequence[Place]) -> list[RunSummary]:
        if not places:
            return []
        hours = hour_of(places[-1].accepted_at), hour_of(places[0].accepted_at)
        ids = [place.run_id for place in places]
        finished = await self._executions(workspace, ids, *hours)
        accepted = await self._accepted(workspace, [run_id for run_id in ids if run_id not in finished], *hours)
        return [views.finished(finished[i]) if i in finished else views.accepted(accepted[i]) for i in ids]

    async def detail(self, workspace: UUID, run_id: UUID, accepted_at: int | None) -> RunDetail:
        """Return the run, as far as it got. `accepted_at` (UTC ms) is when it was accepted, if the asker knows.

        Raises `NotFound` once everything is read that could have told of it; until then it counts as accepted.
        """
        if found := await self._finished(workspace, run_id):
            return found
        all_read = await self._all_read(run_id)
        if found := await self._finished(workspace, run_id):
            return found
        if row := (await self._accepted(workspace, [run_id], 0, LAST)).get(run_id):
            return views.accepted_detail(row, await self._outcome(workspace, row))
        if all_read:
            raise NotFound(f"no run {run_id}")
        return views.unknown_detail(run_id, accepted_at or _time_of(run_id))

    async def accepted_at(self, workspace: UUID, run_id: UUID) -> int:
        """Return when the run was accepted (UTC ms), ended or not.

        Raises `NotFound` as `detail` does, and `Unavailable` while the run may yet be read.
        """
        if found := await self._place(workspace, run_id):
            return found
        all_read = await self._all_read(run_id)
        if found := await self._place(workspace, run_id):
            return found
        if all_read:
            raise NotFound(f"no run {run_id}")
        raise Unavailable(f"run {run_id} was not read yet", retry_after=1)

    async def _place(self, workspace: UUID, run_id: UUID) -> int | None:
        rows = await self._database.rows("accepted_at", workspace=workspace, run_id=run_id)
        return next((row["accepted_at"] for row in rows), None)

    async def _all_read(self, run_id: UUID) -> bool:
        """Return whether everything is read that could tell of the run, after a while at most.

        A named run may be sent again under its first time, whenever its caller likes.
        """
        now, made = self._clock(), _time_of(run_id)
        return await self._reading.passes(min(now, made + APPENDED_WITHIN_MS) if made else now, WAIT_SECONDS)

    async def _finished(self, workspace: UUID, run_id: UUID) -> RunDetail | None:
        executions = (await self._executions(workspace, [run_id], 0, LAST)).get(run_id)
        if executions is None:
            return None
        place = {"workspace": workspace, "hour": hour_of(executions[0]["accepted_at"]), "run_id": run_id}
        texts = await self._database.rows("run_text", **place, execution_id=executions[0]["execution_id"])
        repricings = await self._database.rows("repricings", **place)
        outcome = await self._outcome(workspace, executions[0])
        return views.finished_detail(executions, texts[0] if texts else views.NO_TEXT, outcome, repricings)

    async def _outcome(self, workspace: UUID, run: Row) -> Row | None:
        """Return what was said of a run last."""
        hour = hour_of(run["accepted_at"])
        rows = await self._database.rows("outcome", workspace=workspace, hour=hour, run_id=run["run_id"])
        return next(iter(rows), None)

    async def _executions(self, workspace: UUID, ids: Sequence[UUID], start: int, end: int) -> dict[UUID, list[Row]]:
        """Return the executions of these runs, each run's in the order in which they completed."""
        rows = await self._database.rows("executions", **_by_ids(workspace, ids, start, end))
        rows.sort(key=itemgetter("run_id"))
        return {run_id: list(of_run) for run_id, of_run in groupby(rows, key=itemgetter("run_id"))}

    async def _accepted(self, workspace: UUID, ids: Sequence[UUID], start: int, end: int) -> dict[UUID, Row]:
        if not ids:
            return {}
        rows = await self._database.rows("accepted", **_by_ids(workspace, ids, start, end))
        return {row["run_id"]: row for row in rows}


def _by_ids(workspace: UUID, ids: Sequence[UUID], start: int, end: int) -> dict[str, Any]:
    return {"workspace": workspace, "run_ids": list(ids), "from": start, "to": end}


def _time_of(run_id: UUID) -> int:
    """Return the UTC ms that a UUIDv7 was made at; 0 for an id that does not tell."""
    return run_id.int >> 80 if run_id.version == 7 else 0
