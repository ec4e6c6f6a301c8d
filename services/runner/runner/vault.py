"""The vault, over HTTP."""

from common.contracts.credentials_v1 import Lease, LeaseRequest
from common.http import ServiceClient


class HttpVault:
    """Asks the vault for leases under the runner's own identity."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def lease(self, request: LeaseRequest) -> Lease:
        """Return a lease, or raise the vault's refusal; `Unavailable` where it cannot be reached."""
        answer = await self._client.call("POST", "/leases", body=request.model_dump_json().encode())
        return Lease.model_validate_json(answer)
