"""`GET /api/providers`: of whom a key can be connected."""

from fastapi import APIRouter, Request, Response

from common.contracts.answers_v1 import Answer, Success
from common.providers import Providers, ProviderSpec, Wire
from gateway.routes.wire import data
from gateway.tokens import Tokens


class ProviderAnswer(Answer):
    """A provider that this installation knows. `priced` False: the price catalogue does not know its models."""

    name: str
    wire: Wire
    priced: bool


class ProviderRoutes:
    """Lists what the operator configured."""

    def __init__(self, tokens: Tokens, providers: Providers) -> None:
        self._tokens = tokens
        self._providers = providers
        self.router = APIRouter(prefix="/api/providers", tags=["integrations"])
        self.router.add_api_route("", self.list, methods=["GET"], response_model=Success[list[ProviderAnswer]])

    async def list(self, request: Request) -> Response:
        """Answer every provider that a key can be connected for."""
        await self._tokens.caller(request, "viewer")
        return data([_provider(spec) for spec in self._providers.all()])


def _provider(spec: ProviderSpec) -> ProviderAnswer:
    return ProviderAnswer(name=spec.name, wire=spec.wire, priced=spec.catalogue is not None)
