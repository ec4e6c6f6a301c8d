"""How the routes read bodies and write answers."""

from typing import Annotated, Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from common.contracts.answers_v1 import Answer, Success
from common.http import json_response

Model = TypeVar("Model", bound=BaseModel)


Named = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
"""What somebody calls something."""


class Asked(BaseModel):
    """What a request's body asks for: camelCase, and no field that we do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Done(Answer):
    """The answer of a route that has nothing to give back."""

    success: bool = True
    message: str


async def read(request: Request, model: type[Model]) -> Model:
    """Parse the body, whatever content type it claims.

    Straight from the bytes, not by FastAPI: that takes twice the time, and lets through text that is not Unicode.
    """
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from None


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return what tells the OpenAPI document of a body that `read` parses."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def data(answer: Answer | list[Any] | None, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer `{success, data}`."""
    return json_response(Success(data=answer).encode(), status, headers)


def done(message: str) -> Response:
    """Answer `{success, message}`."""
    return json_response(Done(message=message).encode())


def plain(answer: BaseModel, headers: dict[str, str] | None = None) -> Response:
    """Answer it as it is: what clients made for other providers expect has no envelope of ours."""
    return json_response(answer.model_dump_json().encode(), headers=headers)


def takes_gzip(request: Request) -> bool:
    """Whether the answer may be compressed."""
    offers = (offer.replace(" ", "").split(";") for offer in request.headers.get("accept-encoding", "").split(","))
    return any(name == "gzip" and more not in (["q=0"], ["q=0.0"]) for name, *more in offers)
