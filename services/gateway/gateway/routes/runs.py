"""`/api/integrations/run` and `/api/runs`."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from common.contracts.answers_v1 import Answer, RunDetail, RunPage, Success
from common.contracts.outcomes_v1 import OutcomeGiven, RecordedOutcome
from common.contracts.runs_asked_v1 import RunsAsked
from common.errors import NotFound, RunFailed
from common.http import error_response, json_response
from gateway.analytics import Analytics
from gateway.claims import Claim, Ticket
from gateway.prompts import Prompt
from gateway.results import RunResult, UnpricedResult, result_of
from gateway.routes.wire import body_of, data, read
from gateway.runs import Runs
from gateway.store import Store
from gateway.tokens import Caller, Tokens

NAMED_VERSION = 5
"""Of UUIDs that their callers named; any other id carries its time."""


class AcceptedAnswer(Answer):
    """The broker has the run; its result will be at `/api/runs/{runId}`."""

    run_id: str
    status: Literal["accepted"] = "accepted"


class RunRoutes:
    """Starts runs, and shows them."""

    def __init__(self, tokens: Tokens, runs: Runs, analytics: Analytics, store: Store) -> None:
        self._tokens = tokens
        self._runs = runs
        self._analytics = analytics
        self._store = store
        self.router = APIRouter(prefix="/api", tags=["runs"])
        add, asked = self.router.add_api_route, body_of(Prompt)
        answers: dict[int | str, dict[str, Any]] = {
            200: {"model": Success[RunResult | UnpricedResult]},
            202: {"model": Success[AcceptedAnswer]},
        }
        add("/integrations/run", self.run, methods=["POST"], responses=answers, openapi_extra=asked)
        add("/runs", self.list, methods=["GET"], response_model=Success[RunPage])
        add("/runs/{run_id}", self.show, methods=["GET"], response_model=Success[RunDetail])
        add(
            "/runs/{run_id}/outcome",
            self.record_outcome,
            methods=["POST"],
            response_model=Success[RecordedOutcome],
            openapi_extra=body_of(OutcomeGiven),
        )

    async def run(self, request: Request) -> Response:
        """Run a prompt and answer its result; with `Prefer: respond-async` answer 202 once it is accepted.

        With `Idempotency-Key`, the same request sent again is the same run: its answer, or its error, comes again
        with the header `Idempotent-Replayed: true`.
        """
        caller = await self._tokens.caller(request, "member")
        prompt = await read(request, Prompt)
        ticket = await self._runs.ticket(caller, prompt, request.headers.get("idempotency-key"))
        answer = await self._answer(caller, prompt, ticket, asynchronous=_prefers_async(request))
        if ticket.repeated:
            answer.headers["idempotent-replayed"] = "true"
        return answer

    async def _answer(self, caller: Caller, prompt: Prompt, ticket: Ticket, *, asynchronous: bool) -> Response:
        if asynchronous:
            return _accepted(await self._runs.accept(caller, prompt, ticket))
        try:
            return data(result_of(await self._runs.run(caller, prompt, ticket)))
        except RunFailed as error:  # the run's own end, and its answer for ever; other errors say nothing about it
            return error_response(error)

    async def list(self, request: Request, _: Annotated[RunsAsked, Query()]) -> Response:
        """Answer a page of runs, newest first: of any days, of those that pass the filters."""
        caller = await self._tokens.caller(request, "viewer")
        return json_response(await self._analytics.runs(caller.workspace_id, request.query_params.multi_items()))

    async def show(self, request: Request, run_id: UUID) -> Response:
        """Answer one run, whole."""
        caller = await self._tokens.caller(request, "viewer")
        claim = await self._claim(caller.workspace_id, run_id)
        tried_at = None if claim is None else claim.tried_at
        try:
            return json_response(await self._analytics.run(caller.workspace_id, run_id, tried_at))
        except NotFound:
            if claim is None or claim.published:
                raise
            message = f"run {run_id} was never accepted: send its request again, under the same Idempotency-Key"
            raise NotFound(message) from None

    async def record_outcome(self, request: Request, run_id: UUID) -> Response:
        """Record what became of a run's answer, in place of what was recorded before."""
        caller = await self._tokens.caller(request, "member")
        given = await read(request, OutcomeGiven)
        return json_response(await self._analytics.record_outcome(caller.workspace_id, run_id, given))

    async def _claim(self, workspace_id: UUID, run_id: UUID) -> Claim | None:
        return await self._store.claim_of(workspace_id, run_id) if run_id.version == NAMED_VERSION else None


def _prefers_async(request: Request) -> bool:
    """Whether `Prefer` (RFC 7240) asks for an answer before the result."""
    preferences = request.headers.get("prefer", "").split(",")
    return any(preference.strip().lower() == "respond-async" for preference in preferences)


def _accepted(run_id: UUID) -> Response:
    headers = {"location": f"/api/runs/{run_id}", "preference-applied": "respond-async"}
    return data(AcceptedAnswer(run_id=str(run_id)), 202, headers)
