"""The OpenAPI document says what is true: every error has the one shape, and every call but a probe's a token."""

from typing import Any

from fastapi import FastAPI

ERROR = {
    "type": "object",
    "properties": {
        "success": {"const": False},
        "error": {"type": "string", "description": "what happened and what to do"},
        "code": {"type": "string", "description": "stable: one of those that docs/use-the-api.md lists"},
        "runId": {"type": "string", "format": "uuid", "description": "once a run may exist"},
    },
    "required": ["success", "error", "code"],
    "additionalProperties": False,
}
PROBES = "operations"
"""The tag of what an orchestrator asks: it has no token."""

Json = dict[str, Any]


def documented(app: FastAPI) -> None:
    """Complete the app's document, once, when it is first asked for."""
    generate = app.openapi

    def openapi() -> Json:
        return generate() if app.openapi_schema is not None else _completed(generate())

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to extend it


def _completed(document: Json) -> Json:
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    components.setdefault("schemas", {})["Error"] = ERROR
    document["security"] = [{"token": []}]
    for methods in document["paths"].values():
        for operation in methods.values():
            _complete(operation)
    return document


def _complete(operation: Json) -> None:
    """FastAPI documents a 422 of its own shape, which nobody ever sees."""
    answers = operation["responses"]
    answers.pop("422", None)
    schema = {"$ref": "#/components/schemas/Error"}
    answers["default"] = {"description": "Any error", "content": {"application/json": {"schema": schema}}}
    if PROBES in operation.get("tags", ()):
        operation["security"] = []
