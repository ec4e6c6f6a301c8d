"""How many runs of a workspace wait: what the gateway asks before it lets more in."""

from collections.abc import Callable
from uuid import UUID

from fastapi import APIRouter, Response

from analytics.database import Database
from common.callers import Callers
from common.contracts.answers_v1 import Success
from common.contracts.topics import DAY_MS
from common.contracts.waiting_v1 import Waiting
from common.http import json_response
from common.ids import now_ms
from common.singleflight import Singleflight

LONGEST_MS = DAY_MS
"""A single run has a day at most; a direct publisher's may have more, and is none of the gateway's business."""

HOUR_SECONDS = 3600


class WaitingRuns:
    """Counts what was accepted and has not ended, as far as everything is stored."""

    def __init__(self, database: Database, read_up_to: Callable[[], int]) -> None:
        self._database = database
        self._read_up_to = read_up_to

    async def count(self, workspace: UUID) -> Waiting:
        """Return how many wait. What is read after the time that is told may be counted too: never too few are."""
        read_up_to, now = self._read_up_to(), now_ms()
        hours = {"from": (now - LONGEST_MS) // 1000 - HOUR_SECONDS, "to": now // 1000 + HOUR_SECONDS}
        rows = await self._database.rows("waiting_runs", workspace=workspace, now=now, **hours)
        return Waiting(runs=rows[0]["runs"], read_up_to=read_up_to)


def waiting_routes(callers: Callers, waiting: WaitingRuns) -> APIRouter:
    """Return the question; identical ones in flight are answered once."""
    router = APIRouter(prefix="/workspaces/{workspace}", route_class=callers.only("gateway"))
    flights = Singleflight[bytes]()

    @router.get("/waiting", response_model=Success[Waiting])
    async def count(workspace: UUID) -> Response:
        async def answer() -> bytes:
            return Success(data=await waiting.count(workspace)).encode()

        return json_response(await flights.ask(workspace, answer))

    return router
