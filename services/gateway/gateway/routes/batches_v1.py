"""`/v1/batches`: batches in OpenAI's shapes (https://platform.openai.com/docs/api-reference/batch)."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.batches.batch import Batch, Endpoint, LineError
from gateway.batches.submit import Batches, Terms
from gateway.routes.files import LONGEST, SHORTEST
from gateway.routes.wire import plain, read
from gateway.store import Store
from gateway.tokens import Tokens

Metadata = Annotated[
    dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OutputExpiry(_Body):
    """When output and error file expire."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST, le=LONGEST)


class CreateBatch(_Body):
    """A batch to create."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=64)]
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: OutputExpiry | None = None

    def terms(self) -> Terms:
        """Return what the batch is to be."""
        expiry = self.output_expires_after
        return Terms(
            file_id=self.input_file_id,
            endpoint=self.endpoint,
            labels=self.metadata,
            output_seconds=None if expiry is None else expiry.seconds,
        )


class Fault(BaseModel):
    """What is wrong with a line."""

    object: Literal["batch_error"] = "batch_error"
    code: str
    message: str
    param: str | None
    line: int | None


class Faults(BaseModel):
    """What is wrong with the input."""

    object: Literal["list"] = "list"
    data: list[Fault]


class Counts(BaseModel):
    """Of requests."""

    total: int
    completed: int
    failed: int


class BatchObject(BaseModel):
    """A batch as OpenAI writes it; times in Unix seconds."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: Faults | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: Counts
    metadata: dict[str, str] | None


class BatchList(BaseModel):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class OpenAIBatchRoutes:
    """The same batches as `/api/batches`, for clients made for OpenAI."""

    def __init__(self, tokens: Tokens, store: Store, batches: Batches) -> None:
        self._tokens = tokens
        self._records = store.batches
        self._batches = batches
        # Documented by OpenAI; a second description would differ from that one.
        self.router = APIRouter(prefix="/v1/batches", include_in_schema=False)
        add = self.router.add_api_route
        add("", self.create, methods=["POST"])
        add("", self.list, methods=["GET"])
        add("/{batch_id}", self.show, methods=["GET"])
        add("/{batch_id}/cancel", self.cancel, methods=["POST"])

    async def create(self, request: Request) -> Response:
        """Submit a batch; with `Idempotency-Key` the same request sent again is the same batch."""
        caller = await self._tokens.caller(request, "member")
        asked = await read(request, CreateBatch)
        batch, existed = await self._batches.submit(caller, asked.terms(), request.headers.get("idempotency-key"))
        return plain(_object(batch), {"idempotent-replayed": "true"} if existed else None)

    async def list(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """Answer a page of the workspace's batches, newest first."""
        caller = await self._tokens.caller(request, "viewer")
        found = await self._records.page(caller.workspace_id, state=None, labels={}, after=after, limit=limit + 1)
        data = [_object(batch) for batch in found[:limit]]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return plain(BatchList(data=data, first_id=first, last_id=last, has_more=len(found) > limit))

    async def show(self, request: Request, batch_id: str) -> Response:
        """Answer one batch."""
        caller = await self._tokens.caller(request, "viewer")
        return plain(_object(await self._records.get(caller.workspace_id, batch_id)))

    async def cancel(self, request: Request, batch_id: str) -> Response:
        """Stop a batch."""
        caller = await self._tokens.caller(request, "member")
        return plain(_object(await self._batches.cancel(caller.workspace_id, batch_id)))


def _object(batch: Batch) -> BatchObject:
    progress = batch.progress
    ended = {f"{batch.state}_at": _seconds(batch.ended_at)} if batch.ended_at is not None else {}
    times: dict[str, Any] = dict.fromkeys(("completed_at", "failed_at", "expired_at", "cancelled_at"))
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint or "",
        errors=Faults(data=[_fault(error) for error in batch.errors]) if batch.errors else None,
        input_file_id=batch.file_id,
        completion_window=_window(batch),
        status="in_progress" if batch.state == "paused" else batch.state,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=batch.created_at // 1000,
        in_progress_at=_seconds(batch.started_at),
        expires_at=batch.deadline // 1000,
        finalizing_at=_seconds(batch.finalizing_at),
        cancelling_at=_seconds(batch.cancelling_at),
        request_counts=Counts(total=progress.rows, completed=progress.succeeded, failed=progress.unsuccessful),
        metadata=batch.labels or None,
        **{**times, **ended},
    )


def _window(batch: Batch) -> str:
    """Return the time that the batch was given, as OpenAI writes it where it is whole hours."""
    hours, rest = divmod(batch.deadline - batch.created_at, 3_600_000)
    return f"{hours}h" if not rest else f"{(batch.deadline - batch.created_at) // 1000}s"


def _fault(error: LineError) -> Fault:
    return Fault(code=error.code, message=error.message, param=error.param, line=error.line)


def _seconds(time: int | None) -> int | None:
    return None if time is None else time // 1000
