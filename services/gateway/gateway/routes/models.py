"""`/v1/models`: which models may be asked for, in the shape that the client expects."""

import orjson
from fastapi import APIRouter, Request, Response

from common.http import json_response
from gateway.compatible import speaks_anthropic
from gateway.models import Models, Resolved
from gateway.tokens import Tokens

Shown = dict[str, object]

UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""Anthropic's own word for a model whose release date is not known: https://docs.anthropic.com/en/api/models-list"""


class ModelRoutes:
    """Lists models."""

    def __init__(self, tokens: Tokens, models: Models) -> None:
        self._tokens = tokens
        self._models = models
        self.router = APIRouter(prefix="/v1/models", include_in_schema=False)
        self.router.add_api_route("", self.list, methods=["GET"])
        self.router.add_api_route("/{model:path}", self.show, methods=["GET"])

    async def list(self, request: Request) -> Response:
        """Answer every model that the price catalogue knows of the connected providers, whole, in one page."""
        caller = await self._tokens.caller(request, "viewer")
        found = await self._models.listed(caller.workspace_id)
        if speaks_anthropic(request.scope):
            return _json(_page([_as_anthropic(_name(model), model) for model in found]))
        return _json({"object": "list", "data": [_as_openai(_name(model), model) for model in found]})

    async def show(self, request: Request, model: str) -> Response:
        """Answer one model, under the very name that was asked for."""
        caller = await self._tokens.caller(request, "viewer")
        found = await self._models.find(caller.workspace_id, model)
        show = _as_anthropic if speaks_anthropic(request.scope) else _as_openai
        return _json(show(model, found))


def _name(model: Resolved) -> str:
    return f"{model.spec.name}/{model.model}"


def _as_openai(name: str, model: Resolved) -> Shown:
    return {"id": name, "object": "model", "created": 0, "owned_by": model.spec.name}


def _as_anthropic(name: str, model: Resolved) -> Shown:
    return {"type": "model", "id": name, "display_name": model.model, "created_at": UNKNOWN_TIME}


def _page(models: "list[Shown]") -> Shown:
    ends = {"first_id": models[0]["id"], "last_id": models[-1]["id"]} if models else {"first_id": None, "last_id": None}
    return {"data": models, "has_more": False, **ends}


def _json(body: object) -> Response:
    return json_response(orjson.dumps(body))
