"""`/api/integrations`: the workspace's provider keys."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from common.contracts.answers_v1 import Success
from gateway.analytics import Analytics
from gateway.connect import Connecting, NewKey
from gateway.keys import HistoryAnswer, KeyAnswer, history, listed
from gateway.moment import Moment
from gateway.routes.wire import Done, body_of, data, done, read
from gateway.tokens import Tokens
from gateway.trial import TrialAnswer, Trials
from gateway.vault import Vault


def _sendable(secret: SecretStr) -> SecretStr:
    """Keys come by copy and paste: drop the space around, and refuse what no HTTP header could carry."""
    text = secret.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise PydanticCustomError("api_key", "a provider key is a word of printable ASCII characters")
    return SecretStr(text)


SENDABLE = {"pattern": r"^\s*[!-~]+\s*$"}
"""What `_sendable` lets through, for the document."""


def _storable(time: datetime) -> datetime:
    if not 1970 <= time.year < 2100:  # what the contracts call a time; the vault says which of them are too early
        raise PydanticCustomError("expires_at", "a time between 1970 and 2100")
    return time


class ConnectRequest(BaseModel):
    """A key to connect. A new name adds a key, the same name rotates it. From `expiresAt` on no run uses it."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    provider: Annotated[str, Field(min_length=1, max_length=64)]
    api_key: Annotated[SecretStr, Field(max_length=4096, json_schema_extra=SENDABLE), AfterValidator(_sendable)]
    name: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    expires_at: Annotated[Moment, AfterValidator(_storable)] | None = None

    def key(self) -> NewKey:
        """Return the key that is asked for."""
        expires_at = None if self.expires_at is None else round(self.expires_at.timestamp() * 1000)
        return NewKey(self.provider, self.name, self.api_key, expires_at)


class IntegrationRoutes:
    """Connects keys, lists and deactivates them."""

    def __init__(
        self, tokens: Tokens, connecting: Connecting, trials: Trials, vault: Vault, analytics: Analytics
    ) -> None:
        self._tokens = tokens
        self._connecting = connecting
        self._trials = trials
        self._vault = vault
        self._analytics = analytics
        self.router = APIRouter(prefix="/api/integrations", tags=["integrations"])
        add, asked = self.router.add_api_route, body_of(ConnectRequest)
        add("/connect", self.connect, methods=["POST"], response_model=Done, openapi_extra=asked)
        add("/keys", self.keys, methods=["GET"], response_model=Success[list[KeyAnswer]])
        add("/keys/{key_id}", self.history, methods=["GET"], response_model=Success[HistoryAnswer])
        add("/keys/{key_id}", self.deactivate, methods=["DELETE"], response_model=Done)
        add("/keys/{key_id}/check", self.check, methods=["POST"], response_model=Success[TrialAnswer])

    async def connect(self, request: Request) -> Response:
        """Try a key at its provider, and keep it if that accepts it."""
        caller = await self._tokens.caller(request, "admin")
        asked = await read(request, ConnectRequest)
        await self._connecting.connect(caller, asked.key())
        return done("API key connected successfully")

    async def keys(self, request: Request) -> Response:
        """Answer the workspace's keys: never more of them than the last four characters."""
        caller = await self._tokens.caller(request, "viewer")
        return data(await listed(self._vault, self._analytics, caller.workspace_id))

    async def history(self, request: Request, key_id: UUID) -> Response:
        """Answer one key, with every version that it had."""
        caller = await self._tokens.caller(request, "viewer")
        return data(await history(self._vault, self._analytics, caller.workspace_id, key_id))

    async def check(self, request: Request, key_id: UUID) -> Response:
        """Try a key in use at its provider, and answer what that says. Nothing is changed by it."""
        caller = await self._tokens.caller(request, "admin")
        return data(await self._trials.again(self._vault, caller, key_id))

    async def deactivate(self, request: Request, key_id: UUID) -> Response:
        """Stop every use of a key. It stays in the list, inactive."""
        caller = await self._tokens.caller(request, "admin")
        await self._vault.deactivate(caller.workspace_id, key_id, caller.name)
        return done("API key deactivated")
