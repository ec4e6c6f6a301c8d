"""`/api/rejected`: what was set aside, and how it is replayed. The operator's business alone."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from common.contracts.answers_v1 import Success
from common.errors import Forbidden
from gateway.excerpt import ExcerptAnswer, excerpt
from gateway.rejected import MOST_OFFSET, Asked, RejectedLog, RejectedPage, listed
from gateway.replay import ReplayPage, Replays
from gateway.routes.wire import body_of, data, read
from gateway.tokens import Tokens


class ReplayRequest(Asked):
    """Which records to replay. With `dryRun` nothing is published; the answer says what would become of each."""

    dry_run: bool = False


class RejectedRoutes:
    """Lists rejected records and replays them."""

    def __init__(self, tokens: Tokens, log: RejectedLog, replays: Replays) -> None:
        self._tokens = tokens
        self._log = log
        self._replays = replays
        self.router = APIRouter(prefix="/api/rejected", tags=["rejected"])
        add, replayed, asked = self.router.add_api_route, Success[ReplayPage], body_of(ReplayRequest)
        add("", self.list, methods=["GET"], response_model=Success[RejectedPage])
        add("/{offset}", self.show, methods=["GET"], response_model=Success[ExcerptAnswer])
        add("/replay", self.replay, methods=["POST"], response_model=replayed, openapi_extra=asked)

    async def list(self, request: Request, asked: Annotated[Asked, Query()]) -> Response:
        """Answer a page of rejected records, oldest first: what they are and why, never what they ask."""
        await self._operator(request)
        return data(await listed(self._log, asked))

    async def show(self, request: Request, offset: Annotated[int, Path(ge=0, le=MOST_OFFSET)]) -> Response:
        """Answer one record with its fields: texts are told by their size alone."""
        await self._operator(request)
        return data(await excerpt(self._log, offset))

    async def replay(self, request: Request) -> Response:
        """Replay a page of rejected records with fresh grants. Repeat it as often as you like, and after any error."""
        await self._operator(request)
        asked = await read(request, ReplayRequest)
        return data(await self._replays.replay(asked, dry_run=asked.dry_run))

    async def _operator(self, request: Request) -> None:
        if not (await self._tokens.caller(request, "admin")).operator:
            raise Forbidden("rejected records may be of any workspace: only the operator sees and replays them")
