"""The connections to a provider: one pool for every key, without a limit of its own and without a memory.

They are the SDK's, and carry the SDK's headers. Requests are put together here: that is half of what the SDK's own way
costs, which was more CPU than everything else that a run takes.
"""

from collections.abc import Mapping
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx2
from pydantic import SecretStr

CONNECT_SECONDS = 5.0
"""As in both SDKs: a provider that accepts no connection within it is down."""

CHECK_SECONDS = 20.0
"""A models list takes less than a second; whoever connects a key waits for it."""


def timeouts(seconds: float) -> httpx2.Timeout:
    """Bound connecting apart from the rest. The pool is never full, so it has no bound."""
    return httpx2.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds), pool=None)


def fixed(headers: Mapping[str, object]) -> dict[str, str]:
    """Return of an SDK's headers those that are the same for every tenant; what it leaves out is not text."""
    return {name: value for name, value in headers.items() if isinstance(value, str) and name != "Authorization"}


def bearer(secret: SecretStr) -> dict[str, str]:
    """Return the header that carries a tenant's key."""
    return {"Authorization": f"Bearer {secret.get_secret_value()}"}


def pooled(client_type: type[httpx2.AsyncClient]) -> httpx2.AsyncClient:
    """Return an SDK's aiohttp client for all tenants at once.

    No limit, since the runner bounds the calls in flight itself. No redirects, which would carry a key elsewhere. No
    cookies: those set for one tenant's key would travel with the next tenant's.
    """
    client = client_type(follow_redirects=False, cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])))
    for transport in _transports(client):
        transport.client = partial(_session, transport)
    return client


def _transports(client: httpx2.AsyncClient) -> list[Any]:
    """Return the direct transport and those through the environment's proxies; no public name leads to them."""
    mounted = [transport for transport in client._mounts.values() if transport is not None]  # noqa: SLF001 - see above
    return [client._transport, *mounted]  # noqa: SLF001 - see above


def _session(transport: Any) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0, ssl=transport.ssl_context)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
