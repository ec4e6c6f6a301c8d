"""`/api/session`: sign in to the dashboard, see who is signed in, sign out."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request, Response
from pydantic import Field

from common.contracts.answers_v1 import Answer, Success
from common.http import bearer
from common.identity import Session, Signer
from gateway import cookies
from gateway.routes.wire import Asked, Done, body_of, data, done, read
from gateway.store import Store
from gateway.tokens import Caller, Tokens, hashed


class SignIn(Asked):
    """Who signs in: by an access token."""

    token: str = Field(min_length=1, max_length=512)


class SessionAnswer(Answer):
    """Who is signed in, and where. `simulated`: the providers are played, and nobody is charged what is shown."""

    name: str
    role: str
    operator: bool
    workspace_id: str
    workspace_name: str
    expires_at: datetime | None
    simulated: bool


class SessionRoutes:
    """Turns a token into a cookie that no script can read, and back into nothing."""

    def __init__(self, tokens: Tokens, store: Store, signer: Signer, *, simulated: bool) -> None:
        self._tokens = tokens
        self._store = store
        self._signer = signer
        self._simulated = simulated
        self.router = APIRouter(prefix="/api/session", tags=["session"])
        add, one = self.router.add_api_route, Success[SessionAnswer]
        add("", self.sign_in, methods=["POST"], response_model=one, openapi_extra=body_of(SignIn))
        add("", self.show, methods=["GET"], response_model=Success[SessionAnswer | None])
        add("", self.sign_out, methods=["DELETE"], response_model=Done)

    async def sign_in(self, request: Request) -> Response:
        """Start a session for the token's holder. It ends after twelve hours, or with the token."""
        cookies.check_origin(request)
        token = (await read(request, SignIn)).token.strip()
        caller = await self._tokens.holder(request, token)
        ends = _end(caller)
        response = data(await self._answer(caller, ends))
        cookies.keep(request, response, self._signer.session(Session(hashed(token), int(ends.timestamp()))))
        return response

    async def show(self, request: Request) -> Response:
        """Answer who is signed in; null where nobody is."""
        if not cookies.cookie_of(request) and not bearer(request):
            return data(None)
        caller = await self._tokens.caller(request, "viewer")
        return data(await self._answer(caller, caller.expires_at))

    async def sign_out(self, request: Request) -> Response:
        """End the session in this browser."""
        cookies.check_origin(request)
        response = done("signed out")
        cookies.forget(request, response)
        return response

    async def _answer(self, caller: Caller, ends: datetime | None) -> SessionAnswer:
        workspace = (await self._store.workspaces(caller.workspace_id))[0]
        return SessionAnswer(
            name=caller.name,
            role=caller.role,
            operator=caller.operator,
            workspace_id=str(workspace.id),
            workspace_name=workspace.name,
            expires_at=ends,
            simulated=self._simulated,
        )


def _end(caller: Caller) -> datetime:
    longest = datetime.now(UTC) + timedelta(seconds=cookies.SECONDS)
    return longest if caller.expires_at is None else min(longest, caller.expires_at)
