"""What a request of a compatible surface asks for: the body its provider takes, and whom its costs are put to."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from common.contracts.runs_v1 import Labels, Name, Operation
from common.errors import InvalidRequest
from common.providers import ProviderSpec
from gateway.models import Models, Resolved
from gateway.tokens import Caller

Body = dict[str, Any]

MODEL_CHARACTERS = 256
"""As in the contract."""

PROMPT_HEADER = "X-Tallyrun-Prompt-Id"
LABELS_HEADER = "X-Tallyrun-Labels"

_PROMPT_ID: TypeAdapter[str] = TypeAdapter(Name)
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class SurfaceAsk:
    """A body as its provider takes it. `sent` is the caller's own: under one key it must be the same each time."""

    resolved: Resolved
    operation: Operation
    body: Body
    sent: Body
    prompt_id: str | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.resolved.spec.name

    @property
    def model(self) -> str:
        """What it calls the model."""
        return self.resolved.model

    @property
    def stream(self) -> bool:
        """Whether the answer is to be streamed."""
        return bool(self.sent.get("stream"))

    def wire(self, _: ProviderSpec) -> tuple[Operation, Body]:
        """Return the operation and the body: both were made for this provider."""
        return self.operation, self.body

    def identity(self) -> bytes:
        """Return what makes it the same request, whatever the order of its fields."""
        said = [self.operation, self.sent, self.prompt_id, self.labels]
        return json.dumps(said, sort_keys=True).encode()


Translate = Callable[[Body, ProviderSpec, str], tuple[Operation, Body]]
"""Makes of a surface's body the operation and the body that this provider takes for this model."""


class Asks:
    """Reads the requests of compatible surfaces."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def read(self, caller: Caller, request: Request, translate: Translate) -> SurfaceAsk:
        """Return what the request asks for, or raise the error that names the field at fault."""
        sent = _body(await request.body())
        resolved = await self._models.resolve(caller.workspace_id, model_of(sent))
        operation, body = translate(sent, resolved.spec, resolved.model)
        return SurfaceAsk(resolved, operation, body, sent, _prompt_id(request.headers), _labels(request.headers))


def _body(content: bytes) -> Body:
    """Return a body: only what its surface itself needs to know is looked at."""
    try:
        body = from_json(content, allow_inf_nan=False)
    except ValueError:
        raise InvalidRequest("body: not valid JSON") from None
    if not isinstance(body, dict):
        raise InvalidRequest("body: it must be a JSON object")
    if not isinstance(body.get("stream"), bool | None):
        raise InvalidRequest("stream: it must be true or false", param="stream")
    return body


def model_of(body: Body) -> str:
    """Return the name of the model that is asked for."""
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MODEL_CHARACTERS:
        message = f"model: it must be a name of 1 to {MODEL_CHARACTERS} characters, as 'provider/model'"
        raise InvalidRequest(message, param="model")
    return model


def _prompt_id(headers: Mapping[str, str]) -> str | None:
    told = headers.get(PROMPT_HEADER)
    return None if told is None else _checked(_PROMPT_ID, told, PROMPT_HEADER)


def _labels(headers: Mapping[str, str]) -> dict[str, str]:
    """Read `name=value,name=value`."""
    told = [pair for pair in headers.get(LABELS_HEADER, "").split(",") if pair.strip()]
    pairs = [pair.partition("=") for pair in told]
    return _checked(_LABELS, {name.strip(): value.strip() for name, _, value in pairs}, LABELS_HEADER)


def _checked(kind: TypeAdapter[Kind], value: object, header: str) -> Kind:
    try:
        return kind.validate_python(value)
    except ValidationError as error:
        raise InvalidRequest(f"{header}: {error.errors()[0]['msg']}", param=header) from None
