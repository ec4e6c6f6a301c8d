"""`/v1/chat/completions`: what OpenAI's clients call, for every connected provider."""

from collections.abc import Iterable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from common.errors import TallyrunError
from common.http import json_response
from gateway import translate
from gateway.ask import Asks, SurfaceAsk
from gateway.claims import Ticket
from gateway.compatible import openai_error, request_headers
from gateway.online import Ended, Online
from gateway.results import End, limits_of, response_of
from gateway.runs import Runs
from gateway.sse import data, streamed
from gateway.tokens import Tokens
from gateway.translate.chat_stream import ChatChunks

DONE = b"data: [DONE]\n\n"


class ChatRoutes:
    """Completes chats."""

    def __init__(self, tokens: Tokens, asks: Asks, runs: Runs, online: Online) -> None:
        self._tokens = tokens
        self._asks = asks
        self._runs = runs
        self._online = online
        # What it takes and answers is documented by OpenAI; a second description would differ from that one.
        self.router = APIRouter(prefix="/v1", include_in_schema=False)
        self.router.add_api_route("/chat/completions", self.complete, methods=["POST"])

    async def complete(self, request: Request) -> Response:
        """Complete a chat, at once or as a stream; `Idempotency-Key` is honoured as on our own route."""
        caller = await self._tokens.caller(request, "member")
        ask = await self._asks.read(caller, request, translate.request)
        ticket = await self._runs.ticket(caller, ask, request.headers.get("idempotency-key"))
        headers = answer_headers(ticket)
        if ask.stream:
            pieces = self._online.pieces(caller, ask, ticket)
            return await streamed(pieces, _ChatWriter(ask, ticket), headers)
        end = await self._runs.run(caller, ask, ticket)
        return json_response(_whole(ask, ticket, end), headers={**limits_of(end), **headers})


def answer_headers(ticket: Ticket) -> dict[str, str]:
    """Return the headers of a run's answer: its id, and whether it comes again."""
    replayed = {"idempotent-replayed": "true"} if ticket.repeated else {}
    return {**request_headers(str(ticket.run_id)), **replayed}


def _whole(ask: SurfaceAsk, ticket: Ticket, end: End) -> bytes:
    """Return the completion; the provider's own, byte for byte, where that speaks chat."""
    response = response_of(end)
    if ask.resolved.spec.wire == "openai":
        return response.encode()
    return orjson.dumps(translate.answer(ask.resolved.spec.wire, response, _created(ticket)))


def _created(ticket: Ticket) -> int:
    return ticket.accepted_at // 1000


class _ChatWriter:
    """Writes chunks."""

    def __init__(self, ask: SurfaceAsk, ticket: Ticket) -> None:
        self._ask = ask
        self._ticket = ticket
        options = ask.sent.get("stream_options")
        usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._chunks = ChatChunks(ask.resolved.spec.wire, _created(ticket), usage=usage)

    def events(self, texts: list[str]) -> Iterable[bytes]:
        """Yield the provider's events as chunks."""
        for text in texts:
            yield from map(data, self._chunks.chunks(orjson.loads(text)))

    def end(self, ended: Ended) -> Iterable[bytes]:
        """Yield the usage, if it was asked for, and the end."""
        if not ended.told:
            yield from map(data, self._chunks.whole(self._completion(ended.end)))
        yield from map(data, self._chunks.last())
        yield DONE

    def error(self, error: TallyrunError) -> bytes:
        """Return an error as OpenAI's clients look for it."""
        return data(openai_error(error))

    def _completion(self, end: End) -> dict[str, Any]:
        return translate.answer(self._ask.resolved.spec.wire, response_of(end), _created(self._ticket))
