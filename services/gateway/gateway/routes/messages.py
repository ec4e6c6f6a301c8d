"""`/v1/messages`: what Anthropic's clients call, for every connected provider that speaks their wire."""

from collections.abc import Iterable

import orjson
from fastapi import APIRouter, Request, Response

from common.errors import TallyrunError, Unsupported
from common.http import json_response
from gateway import translate
from gateway.ask import Asks
from gateway.claims import Ticket
from gateway.compatible import anthropic_error
from gateway.online import Ended, Online
from gateway.results import limits_of, response_of
from gateway.routes.chat import answer_headers
from gateway.runs import Runs
from gateway.sse import event, streamed
from gateway.tokens import Tokens
from gateway.translate.message_stream import message_events


class MessageRoutes:
    """Writes messages."""

    def __init__(self, tokens: Tokens, asks: Asks, runs: Runs, online: Online) -> None:
        self._tokens = tokens
        self._asks = asks
        self._runs = runs
        self._online = online
        # What it takes and answers is documented by Anthropic; a second description would differ from that one.
        self.router = APIRouter(prefix="/v1/messages", include_in_schema=False)
        self.router.add_api_route("", self.write, methods=["POST"])
        self.router.add_api_route("/count_tokens", self.count, methods=["POST"])

    async def write(self, request: Request) -> Response:
        """Write a message, at once or as a stream; `Idempotency-Key` is honoured as on our own route."""
        caller = await self._tokens.caller(request, "member")
        ask = await self._asks.read(caller, request, translate.messages)
        ticket = await self._runs.ticket(caller, ask, request.headers.get("idempotency-key"))
        if ask.stream:
            pieces = self._online.pieces(caller, ask, ticket)
            return await streamed(pieces, _MessageWriter(ticket), answer_headers(ticket))
        end = await self._runs.run(caller, ask, ticket)
        return json_response(response_of(end).encode(), headers={**limits_of(end), **answer_headers(ticket)})

    async def count(self, request: Request) -> Response:
        """Refuse: the provider alone knows, and a guess would be taken for its word."""
        await self._tokens.caller(request, "viewer")
        raise Unsupported("count_tokens: tokens are not counted here; POST /api/batches/quote estimates a file's")


class _MessageWriter:
    """Writes a message's events: the provider's own, under the names that clients need."""

    def __init__(self, ticket: Ticket) -> None:
        self._request_id = str(ticket.run_id)

    def events(self, texts: list[str]) -> Iterable[bytes]:
        """Yield the provider's events."""
        for text in texts:
            yield event(orjson.loads(text).get("type", "message"), text.encode())

    def end(self, ended: Ended) -> Iterable[bytes]:
        """Yield the whole message where no event came; else its last one said so."""
        if not ended.told:
            for part in message_events(orjson.loads(response_of(ended.end))):
                yield event(part["type"], orjson.dumps(part))

    def error(self, error: TallyrunError) -> bytes:
        """Return an error as Anthropic's clients look for it."""
        return event("error", orjson.dumps(anthropic_error(error, self._request_id)))
