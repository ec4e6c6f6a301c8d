"""A row of a batch: one line of its file, judged, and as its provider takes it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, get_args

import orjson

from common.contracts.runs_v1 import Operation
from common.contracts.topics import MAX_BODY_BYTES
from common.errors import AmbiguousModel, InvalidRequest, UnknownModel, Unsupported
from common.providers import Providers, ProviderSpec
from gateway import translate
from gateway.batches.batch import Batch, Endpoint
from gateway.models import Resolved
from gateway.nesting import check_nesting

LONGEST_ID = 256
LONGEST_NAME = 256
MAY_GROW = MAX_BODY_BYTES // 4
"""Written anew, a number such as 1e9 takes more bytes: a body above this is measured as it will be sent."""

ENDPOINTS: tuple[str, ...] = get_args(Endpoint)

REFUSALS = (Unsupported, UnknownModel, AmbiguousModel, InvalidRequest)

Resolve = Callable[[str], Awaitable[Resolved]]
"""Returns what a model's name means, or raises one of the refusals."""


class LineFault(Exception):
    """Why a line is no row. `code` is stable; `param` names the field."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


@dataclass(frozen=True)
class Request:
    """A row as its provider takes it. `size`: the bytes of its line."""

    custom_id: str
    asked_model: str
    spec: ProviderSpec
    model: str
    operation: Operation
    body: dict[str, Any]
    size: int


class RowReader:
    """Reads rows. The first one's `url` is that of all, unless the batch names its endpoint."""

    def __init__(self, resolve: Resolve, endpoint: str | None, model: str | None) -> None:
        self.endpoint = endpoint
        self.found: dict[str, Resolved] = {}
        self._resolve = resolve
        self._model = model

    async def read(self, content: bytes | None) -> Request:
        """Return the row that this line is, or raise `LineFault`."""
        line = _object(content)
        custom_id = custom_id_of(line)
        body = self._body(line)
        asked = body.get("model", self._model)
        if not isinstance(asked, str) or not 0 < len(asked) <= LONGEST_NAME:
            raise LineFault("missing_required_parameter", "body.model: name a model", "model")
        try:
            meant = await self._resolved(asked)
            operation, sent = self._translated(body, meant)
            check_nesting(sent)
        except REFUSALS as error:
            raise LineFault(error.code, error.message, error.param) from error
        size = len(content or b"")
        if size > MAY_GROW and len(orjson.dumps(sent)) > MAX_BODY_BYTES:
            raise _too_long()
        return Request(custom_id, asked, meant.spec, meant.model, operation, sent, size)

    def _body(self, line: dict[str, Any]) -> dict[str, Any]:
        if line.get("method") != "POST":
            raise LineFault("invalid_method", "method: it must be 'POST'", "method")
        url = line.get("url")
        if url not in ENDPOINTS:
            raise LineFault("invalid_url", f"url: it must be {' or '.join(ENDPOINTS)}", "url")
        self.endpoint = self.endpoint or url
        if url != self.endpoint:
            raise LineFault("mismatched_url", f"url: it must be {self.endpoint}, as the batch's endpoint is", "url")
        body = line.get("body")
        if not isinstance(body, dict):
            raise LineFault("invalid_body", "body: it must be an object", "body")
        if body.get("stream"):
            raise LineFault("unsupported", "body.stream: a batch does not stream", "stream")
        return body

    async def _resolved(self, asked: str) -> Resolved:
        if asked not in self.found:
            self.found[asked] = await self._resolve(asked)
        return self.found[asked]

    def _translated(self, body: dict[str, Any], meant: Resolved) -> tuple[Operation, dict[str, Any]]:
        if self.endpoint == "/v1/messages":
            return translate.messages(body, meant.spec, meant.model)
        return translate.request(body, meant.spec, meant.model)


def pinned(batch: Batch, providers: Providers) -> RowReader:
    """Return a reader for whom models mean what they were found to mean when the batch was validated."""

    async def resolve(name: str) -> Resolved:
        provider, model = batch.models.get(name, ("", ""))
        return Resolved(providers.find(provider), model)

    return RowReader(resolve, batch.endpoint, batch.model)


def custom_id_of(line: dict[str, Any]) -> str:
    """Return the row's custom id, or raise `LineFault`."""
    custom_id = line.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= LONGEST_ID:
        message = f"custom_id: it must be a text of 1 to {LONGEST_ID} characters"
        raise LineFault("missing_required_parameter", message, "custom_id")
    return custom_id


def _object(content: bytes | None) -> dict[str, Any]:
    if content is None:
        raise _too_long()
    try:
        line = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise LineFault("invalid_json_line", f"this line is not valid JSON: {error.msg}") from error
    if not isinstance(line, dict):
        raise LineFault("invalid_json_line", "this line is not a JSON object")
    return line


def _too_long() -> LineFault:
    return LineFault("too_large", f"this line is over the limit of {MAX_BODY_BYTES} bytes")
