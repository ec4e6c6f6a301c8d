"""`/api/batches`: everything that can be known of batches, and done with them."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from common.contracts.answers_v1 import Success
from common.contracts.runs_v1 import Labels, Name, Status
from common.errors import InvalidRequest
from common.http import streamed
from gateway.batches.answers import BatchAnswer, BatchPage, ResultAnswer, ResultWithInput, batch_answer, result_fields
from gateway.batches.batch import Batch, Mode, State
from gateway.batches.inputs import Inputs
from gateway.batches.results import Result, Results
from gateway.batches.submit import ALL_AGAIN, Again, Batches, Terms, Which
from gateway.routes.wire import Asked, body_of, data, read
from gateway.store import Store
from gateway.tokens import Tokens

LONGEST_SECONDS = 7 * 86_400
"""The log keeps what waits in it for seven days."""

DAY_SECONDS = 86_400
DeadlineSeconds = Annotated[int, Field(ge=1, le=LONGEST_SECONDS)]

MOST_DOLLARS = 10_000_000
Dollars = Annotated[Decimal, Field(gt=0, le=MOST_DOLLARS, max_digits=25, decimal_places=18)]
FileId = Annotated[str, Field(min_length=1, max_length=64)]
CustomIds = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(min_length=1, max_length=50_000)
]
LINES = "application/x-ndjson"
Only = Literal["ok", "failed", "expired", "cancelled"]
STATUS: dict[str, Status] = {"ok": "succeeded", "failed": "failed", "expired": "expired", "cancelled": "cancelled"}


class SubmitBatch(Asked):
    """A batch to submit. `model` is used for rows that name none; `maxCost` is in US dollars.

    `mode`: `provider` goes through the providers' own batches, at their discount and within a day; `auto` does where it
    suits the rows and the deadline.
    """

    file_id: FileId
    name: Name | None = None
    model: Annotated[Name, Field(min_length=1)] | None = None
    labels: Labels = {}
    deadline_seconds: DeadlineSeconds = DAY_SECONDS
    mode: Mode = "online"
    max_cost: Dollars | None = None

    def terms(self) -> Terms:
        """Return what the batch is to be."""
        return Terms(
            file_id=self.file_id,
            name=self.name,
            model=self.model,
            labels=self.labels,
            lifetime_ms=self.deadline_seconds * 1000,
            max_cost=self.max_cost,
            mode=self.mode,
        )


class RetryBatch(Asked):
    """Which rows of an ended batch to run again: those that ended so, or those named."""

    only: tuple[Again, ...] = Field(ALL_AGAIN, min_length=1)
    custom_ids: CustomIds | None = None
    max_cost: Dollars | None = None
    name: Name | None = None


class BatchRoutes:
    """Submits, shows and steers batches, and streams their results."""

    def __init__(self, tokens: Tokens, store: Store, batches: Batches, results: Results, inputs: Inputs) -> None:
        self._tokens = tokens
        self._records = store.batches
        self._batches = batches
        self._results = results
        self._inputs = inputs
        self.router = APIRouter(prefix="/api/batches", tags=["batches"])
        add, one = self.router.add_api_route, Success[BatchAnswer]
        made: dict[str, Any] = {"methods": ["POST"], "status_code": 201, "response_model": one}
        made["responses"] = {200: {"model": one, "description": "The batch that this key stands for"}}
        add("", self.submit, **made, openapi_extra=body_of(SubmitBatch))
        add("", self.list, methods=["GET"], response_model=Success[BatchPage])
        add("/{batch_id}", self.show, methods=["GET"], response_model=one)
        add("/{batch_id}/retry", self.retry, **made, openapi_extra=body_of(RetryBatch))
        for verb in (self.cancel, self.pause, self.resume):
            add(f"/{{batch_id}}/{verb.__name__}", verb, methods=["POST"], response_model=one)
        lines: dict[int | str, dict[str, Any]] = {200: {"content": {LINES: {}}}}
        add("/{batch_id}/results", self.results, methods=["GET"], response_class=StreamingResponse, responses=lines)

    async def submit(self, request: Request) -> Response:
        """Submit a batch; with `Idempotency-Key` the same request sent again is the same batch, answered with 200."""
        caller = await self._tokens.caller(request, "member")
        asked = await read(request, SubmitBatch)
        return _made(*await self._batches.submit(caller, asked.terms(), request.headers.get("idempotency-key")))

    async def retry(self, request: Request, batch_id: str) -> Response:
        """Run the rows that did not succeed again, as a batch of their own."""
        caller = await self._tokens.caller(request, "member")
        asked = await read(request, RetryBatch)
        changes = {"max_cost": asked.max_cost, **({} if asked.name is None else {"name": asked.name})}
        which, key = Which(asked.only, asked.custom_ids), request.headers.get("idempotency-key")
        return _made(*await self._batches.retry(caller, batch_id, which, changes, key))

    async def list(
        self,
        request: Request,
        state: State | None = None,
        label: Annotated[list[str], Query(max_length=8)] = [],  # noqa: B006 - FastAPI copies it
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """Answer a page of the workspace's batches, newest first."""
        caller = await self._tokens.caller(request, "viewer")
        asked: dict[str, Any] = {"state": state, "labels": _labels(label), "after": cursor, "limit": limit + 1}
        found = await self._records.page(caller.workspace_id, **asked)
        following = found[limit - 1].id if len(found) > limit else None
        return data(BatchPage(batches=[batch_answer(batch) for batch in found[:limit]], next_cursor=following))

    async def show(self, request: Request, batch_id: str) -> Response:
        """Answer one batch as it stands."""
        caller = await self._tokens.caller(request, "viewer")
        return data(batch_answer(await self._records.get(caller.workspace_id, batch_id)))

    async def cancel(self, request: Request, batch_id: str) -> Response:
        """Stop a batch: what was not called ends as cancelled; calls under way finish."""
        caller = await self._tokens.caller(request, "member")
        return data(batch_answer(await self._batches.cancel(caller.workspace_id, batch_id)))

    async def pause(self, request: Request, batch_id: str) -> Response:
        """Feed nothing more until the batch is resumed."""
        caller = await self._tokens.caller(request, "member")
        return data(batch_answer(await self._batches.pause(caller.workspace_id, batch_id)))

    async def resume(self, request: Request, batch_id: str) -> Response:
        """Feed on."""
        caller = await self._tokens.caller(request, "member")
        return data(batch_answer(await self._batches.resume(caller.workspace_id, batch_id)))

    async def results(
        self,
        request: Request,
        batch_id: str,
        only: Only | None = None,
        include_inputs: Annotated[bool, Query(alias="includeInputs")] = False,
        follow: bool = False,
        after: Annotated[str | None, Query(max_length=256)] = None,
    ) -> Response:
        """Answer each row that has ended, a line each; `follow` stays until all have.

        `after` is the customId of a line: what came up to it is left out.
        """
        caller = await self._tokens.caller(request, "viewer")
        batch = await self._records.get(caller.workspace_id, batch_id)

        async def refresh() -> Batch:
            return await self._records.get(caller.workspace_id, batch_id)

        found = self._results.stream(batch, refresh if follow else None, texts=True)
        wanted = _only(_after(found, after), only)
        lines = self._with_inputs(batch, wanted) if include_inputs else _plain(wanted)
        if follow:  # whoever follows is not to wait for the first row before hearing anything
            return StreamingResponse(lines, media_type=LINES)
        return await streamed(lines, LINES)

    async def _with_inputs(self, batch: Batch, results: AsyncIterator[Result]) -> AsyncIterator[bytes]:
        inputs = await self._inputs.of(batch)
        async for result in results:
            line, asked = await inputs.find(result.custom_id)
            yield ResultWithInput(**result_fields(result), line=line, input=asked).encode() + b"\n"


async def _plain(results: AsyncIterator[Result]) -> AsyncIterator[bytes]:
    async for result in results:
        yield ResultAnswer(**result_fields(result)).encode() + b"\n"


async def _after(results: AsyncIterator[Result], custom_id: str | None) -> AsyncIterator[Result]:
    passed = custom_id is None
    async for result in results:
        if passed:
            yield result
        passed = passed or result.custom_id == custom_id


async def _only(results: AsyncIterator[Result], only: Only | None) -> AsyncIterator[Result]:
    async for result in results:
        if only is None or result.status == STATUS[only]:
            yield result


def _made(batch: Batch, existed: bool) -> Response:
    if existed:
        return data(batch_answer(batch), 200, {"idempotent-replayed": "true"})
    return data(batch_answer(batch), 201, {"location": f"/api/batches/{batch.id}"})


def _labels(asked: list[str]) -> dict[str, str]:
    pairs = [label.partition("=") for label in asked]
    if any(not name or not sign for name, sign, _ in pairs):
        raise InvalidRequest("label: write it as name=value", param="label")
    return {name: value for name, _, value in pairs}
