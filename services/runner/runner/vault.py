"""The vault, over HTTP."""

from common.contracts.credentials_v1 import Lease, LeaseRequest
from common.errors import TallyrunError
from common.http import ServiceClient
from runner.metrics import LEASE_FAILURES


class HttpVault:
    """Asks the vault for leases under the runner's own identity."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def lease(self, request: LeaseRequest) -> Lease:
        """Return a lease, or raise the vault's refusal; `Unavailable` where it cannot be reached."""
        try:
            answer = await self._client.call("POST", "/leases", body=request.model_dump_json().encode())
        except TallyrunError as error:
            LEASE_FAILURES.labels(error.code).inc()
            raise
        return Lease.model_validate_json(answer)
