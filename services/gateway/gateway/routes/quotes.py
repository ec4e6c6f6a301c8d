"""`POST /api/batches/quote`: the price of a file, before anything is sent."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from common.contracts.answers_v1 import Success
from common.contracts.runs_v1 import Name
from gateway.batches.answers import FaultAnswer, fault
from gateway.batches.batch import Mode
from gateway.batches.quote import Quote
from gateway.batches.quote_file import Quotes
from gateway.routes.batches import DAY_SECONDS, DeadlineSeconds, FileId
from gateway.routes.wire import Asked, body_of, data, read
from gateway.tokens import Tokens


class AskQuote(Asked):
    """Which file to quote; `model` is for rows that name none; `mode` decides about the price."""

    file_id: FileId
    model: Annotated[Name, Field(min_length=1)] | None = None
    mode: Mode = "online"
    deadline_seconds: DeadlineSeconds = DAY_SECONDS


class QuoteAnswer(Quote):
    """The quote of the rows that are good, and what is wrong with the others: such a file would not be run."""

    errors: list[FaultAnswer]


class QuoteRoutes:
    """Quotes files."""

    def __init__(self, tokens: Tokens, quotes: Quotes) -> None:
        self._tokens = tokens
        self._quotes = quotes
        self.router = APIRouter(prefix="/api/batches", tags=["batches"])
        answers, asked = Success[QuoteAnswer], body_of(AskQuote)
        self.router.add_api_route("/quote", self.quote, methods=["POST"], response_model=answers, openapi_extra=asked)

    async def quote(self, request: Request) -> Response:
        """Answer what a file's rows will cost: a range for each model, and what it rests on. Nothing is sent for it."""
        caller = await self._tokens.caller(request, "viewer")
        asked = await read(request, AskQuote)
        quoted = await self._quotes.quote(
            caller.workspace_id, asked.file_id, asked.model, asked.mode, asked.deadline_seconds * 1000
        )
        return data(QuoteAnswer(**vars(quoted.quote), errors=[fault(error) for error in quoted.errors]))
