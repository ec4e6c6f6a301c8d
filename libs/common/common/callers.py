"""Which service calls, and whether it may: known before anything of the request's body is read."""

from collections.abc import Callable, Coroutine
from typing import Any, Self

from fastapi import Request, Response
from fastapi.routing import APIRoute

from common.errors import Forbidden, Unauthenticated
from common.http import Speaker, bearer
from common.identity import Signer, Verifier
from common.kubernetes import Cluster, ClusterKeys, ProjectedTokens, names_cluster_key
from common.lockout import Lockout, address_of
from common.settings import IdentitySettings


def speaker(service: str, settings: IdentitySettings) -> Speaker:
    """Return how this service proves who it is: by its own key, or by the tokens that its cluster gives it."""
    if settings.service_token_dir is not None:
        return ProjectedTokens(settings.service_token_dir)
    return Signer.load(service, settings.identity_dir)


class Callers:
    """Recognises the services that call `audience`; an address that fails too often is not listened to for a while."""

    def __init__(self, audience: str, verifier: Verifier, cluster: Cluster | None = None) -> None:
        self._audience = audience
        self._verifier = verifier
        self._cluster = cluster
        self._lockout = Lockout()

    @classmethod
    def load(cls, audience: str, settings: IdentitySettings) -> Self:
        """Read the keys that the settings name."""
        cluster = None
        if settings.cluster_jwks is not None and settings.cluster_issuer is not None:
            cluster = Cluster(ClusterKeys(settings.cluster_jwks), settings.cluster_issuer, settings.cluster_services)
        return cls(audience, Verifier.load(settings.identity_dir), cluster)

    def only(self, service: str) -> type[APIRoute]:
        """Return a class of routes that let this one service in; others are `Forbidden`, whatever they send."""
        admit = self._admit

        class OnlyRoute(APIRoute):
            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handler = super().get_route_handler()

                async def guarded(request: Request) -> Response:
                    await admit(request, service)
                    return await handler(request)

                return guarded

        return OnlyRoute

    async def _admit(self, request: Request, service: str) -> None:
        request.state.caller = caller = await self._caller(request)
        if caller != service:
            raise Forbidden(f"{caller} may not call this: only {service} may")

    async def _caller(self, request: Request) -> str:
        """Return who calls. A genuine token is never locked out: whoever shares its address could lock it out."""
        try:
            return await self.recognised(bearer(request))
        except Unauthenticated:
            address = address_of(request)
            self._lockout.check(address)
            self._lockout.failed(address)
            raise

    async def recognised(self, token: str) -> str:
        """Return the service that the token proves, or raise `Unauthenticated`."""
        if self._cluster is not None and names_cluster_key(token):
            return await self._cluster.service(token, self._audience)
        return self._verifier.service(token, self._audience)
