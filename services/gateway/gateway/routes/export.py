"""`/api/analytics/export` and `/api/analytics/reprice`: runs as files, and priced again."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from common.contracts.answers_v1 import Success
from common.contracts.reprice_v1 import RepriceAsked, RepricePage
from common.contracts.usage_v1 import ExportAsked
from common.http import json_response, streamed
from gateway.analytics import Analytics
from gateway.routes.wire import body_of, read, takes_gzip
from gateway.tokens import Tokens

FILES = {
    "csv": ("runs.csv", "text/csv; charset=utf-8"),
    "parquet": ("runs.parquet", "application/vnd.apache.parquet"),
    "focus": ("focus.csv", "text/csv; charset=utf-8"),
}

GZIP = 31
"""zlib's number for a window of 32 KiB in gzip's format."""

FAST = 1
"""A level at which one core compresses faster than analytics writes."""


class ExportRoutes:
    """Asks analytics about the caller's own workspace."""

    def __init__(self, tokens: Tokens, analytics: Analytics) -> None:
        self._tokens = tokens
        self._analytics = analytics
        self.router = APIRouter(prefix="/api/analytics", tags=["analytics"])
        add, asked = self.router.add_api_route, body_of(RepriceAsked)
        add("/export", self.export, methods=["GET"], response_class=Response)
        add("/reprice", self.reprice, methods=["POST"], response_model=Success[RepricePage], openapi_extra=asked)

    async def export(self, request: Request, asked: Annotated[ExportAsked, Query()]) -> Response:
        """Stream the runs of a period, of any size: a row for each execution, or for each charge as FOCUS 1.2 has it.

        With `texts`, also what was said, which viewers may not export.
        """
        caller = await self._tokens.caller(request, "member" if asked.texts else "viewer")
        pieces = self._analytics.export(caller.workspace_id, request.query_params.multi_items())
        name, media_type = FILES[asked.format]
        headers = {"content-disposition": f'attachment; filename="{name}"', "vary": "accept-encoding"}
        if asked.format != "parquet" and takes_gzip(request):
            return await streamed(_zipped(pieces), media_type, {**headers, "content-encoding": "gzip"})
        return await streamed(pieces, media_type, headers)

    async def reprice(self, request: Request) -> Response:
        """Price the runs of a period again, a page at a time: with `apply` for good, else only to see what changes."""
        caller = await self._tokens.caller(request, "admin")
        asked = await read(request, RepriceAsked)
        return json_response(await self._analytics.reprice(caller.workspace_id, asked))


async def _zipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    zipping = zlib.compressobj(FAST, zlib.DEFLATED, GZIP)
    async for piece in pieces:
        if zipped := await asyncio.to_thread(zipping.compress, piece):
            yield zipped
    yield zipping.flush()
