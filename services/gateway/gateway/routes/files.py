"""`/v1/files`: uploads and results as files, in OpenAI's shapes."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from common.errors import InvalidRequest
from common.http import streamed
from common.ids import now_ms
from gateway.batches.files import INPUT, MAX_FILE_BYTES, Files, StoredFile
from gateway.batches.upload import Form, boundary_of, receive
from gateway.routes.wire import plain
from gateway.store import Store
from gateway.tokens import Tokens

PATH = "/v1/files"
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
SHORTEST, LONGEST = 3600, 2_592_000
"""Seconds that a file may be told to stay: https://platform.openai.com/docs/api-reference/files/create"""

LONGEST_NAME = 255


class FileObject(BaseModel):
    """A file as OpenAI writes it; times in Unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(BaseModel):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class FileRoutes:
    """Takes uploads as streams, and gives files back the same way."""

    def __init__(self, tokens: Tokens, store: Store, files: Files) -> None:
        self._tokens = tokens
        self._shelf = store.files
        self._files = files
        # Documented by OpenAI; a second description would differ from that one.
        self.router = APIRouter(prefix=PATH, include_in_schema=False)
        add = self.router.add_api_route
        add("", self.upload, methods=["POST"])
        add("", self.list, methods=["GET"])
        add("/{file_id}", self.show, methods=["GET"])
        add("/{file_id}", self.delete, methods=["DELETE"])
        add("/{file_id}/content", self.content, methods=["GET"])

    async def upload(self, request: Request) -> Response:
        """Store a batch's input, of up to 200 MiB, as it arrives."""
        caller = await self._tokens.caller(request, "member")
        boundary = boundary_of(request.headers.get("content-type", ""))
        async with self._files.writing(caller.workspace_id, "upload", INPUT, limit=MAX_FILE_BYTES) as draft:
            form = await receive(request.stream(), boundary, draft)
            draft.know(filename=_filename(form), expires_at=_expiry(form, draft.file.created_at))
        return plain(_object(draft.file))

    async def list(
        self,
        request: Request,
        purpose: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        after: Annotated[str | None, Query(max_length=64)] = None,
        order: Literal["asc", "desc"] = "desc",
    ) -> Response:
        """Answer a page of the workspace's files."""
        caller = await self._tokens.caller(request, "viewer")
        asked: dict[str, Any] = {
            "purpose": purpose,
            "after": after,
            "limit": limit + 1,
            "newest_first": order == "desc",
        }
        found = await self._shelf.page(caller.workspace_id, now_ms(), **asked)
        data = [_object(file) for file in found[:limit]]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return plain(FileList(data=data, first_id=first, last_id=last, has_more=len(found) > limit))

    async def show(self, request: Request, file_id: str) -> Response:
        """Answer a file's metadata."""
        caller = await self._tokens.caller(request, "viewer")
        return plain(_object(await self._shelf.get(caller.workspace_id, file_id, now_ms())))

    async def content(self, request: Request, file_id: str) -> Response:
        """Answer a file's content."""
        caller = await self._tokens.caller(request, "viewer")
        file = await self._shelf.get(caller.workspace_id, file_id, now_ms())
        headers = {"content-length": str(file.bytes)}  # so that a client sees where it was cut off
        return await streamed(self._files.read(file.id), "application/octet-stream", headers)

    async def delete(self, request: Request, file_id: str) -> Response:
        """Remove a file; 409 while a batch reads it."""
        caller = await self._tokens.caller(request, "member")
        await self._files.delete(caller.workspace_id, file_id)
        return plain(FileDeleted(id=file_id))


def _filename(form: Form) -> str:
    purpose = form.fields.get("purpose")
    if purpose != INPUT:
        raise InvalidRequest(f"purpose: it must be '{INPUT}'", param="purpose")
    return "".join(character for character in form.filename or "" if character.isprintable())[:LONGEST_NAME]


def _expiry(form: Form, created_at: int) -> int | None:
    """Return when the file expires, in UTC ms; None is never."""
    if ANCHOR not in form.fields and SECONDS not in form.fields:
        return None
    if form.fields.get(ANCHOR) != "created_at":
        raise InvalidRequest(f"{ANCHOR}: it must be 'created_at'", param=ANCHOR)
    seconds = form.fields.get(SECONDS, "")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 9 and SHORTEST <= int(seconds) <= LONGEST):
        raise InvalidRequest(f"{SECONDS}: a whole number from {SHORTEST} to {LONGEST}", param=SECONDS)
    return created_at + int(seconds) * 1000


def _object(file: StoredFile) -> FileObject:
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created_at // 1000,
        expires_at=None if file.expires_at is None else file.expires_at // 1000,
        filename=file.filename,
        purpose=file.purpose,
    )
