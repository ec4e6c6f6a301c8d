"""Analytics, over HTTP. What it answers to our callers is passed on byte for byte."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from common.contracts.answers_v1 import OutputTokens, Period, RunDetail, Success, UsageCount
from common.contracts.batch_answers_v1 import BatchAcceptance, BatchRows, BatchTotals
from common.contracts.outcomes_v1 import OutcomeGiven
from common.contracts.product_v1 import ProductUse
from common.contracts.reprice_v1 import RepriceAsked
from common.contracts.waiting_v1 import Waiting
from common.http import ServiceClient

T = TypeVar("T")

REPRICE_SECONDS = 60
"""A page is answered after three, unless the fullest second of a workspace takes longer."""


class Analytics:
    """Answers questions about one workspace's runs; the gateway says which, never the caller."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def overview(self, workspace_id: UUID, period: Period) -> bytes:
        """Return the overview's JSON."""
        return await self._client.call("GET", f"/workspaces/{workspace_id}/overview", params={"period": period})

    async def usage(self, workspace_id: UUID, asked: list[tuple[str, str]]) -> bytes:
        """Return the usage's JSON; what is asked for are the fields of `UsageAsked`, lists by repetition."""
        return await self._client.call("GET", f"/workspaces/{workspace_id}/usage", params=asked)

    def export(self, workspace_id: UUID, asked: list[tuple[str, str]]) -> AsyncIterator[bytes]:
        """Yield the export's bytes; what is asked for are the fields of `ExportAsked`."""
        return self._client.stream(f"/workspaces/{workspace_id}/export", params=asked)

    async def reprice(self, workspace_id: UUID, asked: RepriceAsked) -> bytes:
        """Return a page of a repricing as JSON."""
        body = asked.model_dump_json(by_alias=True, exclude_none=True).encode()
        return await self._client.call(
            "POST", f"/workspaces/{workspace_id}/reprice", body=body, seconds=REPRICE_SECONDS
        )

    async def latency(self, workspace_id: UUID, asked: list[tuple[str, str]]) -> bytes:
        """Return the latency's JSON, asked for as usage is."""
        return await self._client.call("GET", f"/workspaces/{workspace_id}/latency", params=asked)

    async def product(self, workspace_id: UUID, period: Period) -> ProductUse:
        """Return how much the period's runs used of the product."""
        content = await self._client.call("GET", f"/workspaces/{workspace_id}/product", params={"period": period})
        return _read(ProductUse, content)

    async def record_outcome(self, workspace_id: UUID, run_id: UUID, given: OutcomeGiven) -> bytes:
        """Store what is said of a run and return that as JSON; raise `NotFound`, or `Unavailable` if it may appear."""
        path = f"/workspaces/{workspace_id}/runs/{run_id}/outcome"
        return await self._client.call("POST", path, body=given.model_dump_json().encode())

    async def runs(self, workspace_id: UUID, asked: list[tuple[str, str]]) -> bytes:
        """Return one page of runs as JSON; what is asked for are the fields of `RunsAsked`, lists by repetition."""
        return await self._client.call("GET", f"/workspaces/{workspace_id}/runs", params=asked)

    async def run(self, workspace_id: UUID, run_id: UUID, accepted_at: int | None) -> bytes:
        """Return one run's JSON, or raise `NotFound` once it cannot turn up any more.

        A named id carries no time: `accepted_at` (UTC ms) says when it was last sent to the broker.
        """
        hint = {} if accepted_at is None else {"accepted_at": str(accepted_at)}
        return await self._client.call("GET", f"/workspaces/{workspace_id}/runs/{run_id}", params=hint)

    async def detail(self, workspace_id: UUID, run_id: UUID, accepted_at: int) -> RunDetail:
        """Return one run as far as it got, or raise `NotFound`; without a provider it may yet turn out not to be."""
        content = await self.run(workspace_id, run_id, accepted_at)
        return _read(RunDetail, content)

    async def finished(self, workspace_id: UUID, run_id: UUID, accepted_at: int) -> RunDetail | None:
        """Return the run, or None while it has not ended."""
        run = await self.detail(workspace_id, run_id, accepted_at)
        return None if run.status == "accepted" else run

    async def key_usage(self, workspace_id: UUID) -> dict[str, UsageCount]:
        """Return how often each key was used, by key id."""
        content = await self._client.call("GET", f"/workspaces/{workspace_id}/key-usage")
        return {count.key_id: count for count in Success[list[UsageCount]].model_validate_json(content).data}

    async def output_tokens(self, workspace_id: UUID, provider: str, model: str) -> OutputTokens:
        """Return how long the model's last answers in this workspace were."""
        asked = {"provider": provider, "model": model}
        content = await self._client.call("GET", f"/workspaces/{workspace_id}/output-tokens", params=asked)
        return Success[OutputTokens].model_validate_json(content).data

    async def waiting(self, workspace_id: UUID) -> Waiting:
        """Return how many single runs have not ended."""
        content = await self._client.call("GET", f"/workspaces/{workspace_id}/waiting")
        return Success[Waiting].model_validate_json(content).data

    async def batch_rows(
        self, workspace_id: UUID, batch_id: str, after: str | None, limit: int, *, texts: bool
    ) -> BatchRows:
        """Return a page of what ended, behind the cursor's place in the log."""
        asked = {"limit": str(limit), "texts": str(texts).lower(), **({} if after is None else {"after": after})}
        return _read(BatchRows, await self._client.call("GET", _batch(workspace_id, batch_id, "rows"), params=asked))

    async def batch_accepted(
        self, workspace_id: UUID, batch_id: str, since: int, until: int, after: str | None
    ) -> BatchAcceptance:
        """Return a page of the runs that reached the log, of those accepted within these times (UTC ms)."""
        asked = {"since": str(since), "until": str(until), **({} if after is None else {"after": after})}
        content = await self._client.call("GET", _batch(workspace_id, batch_id, "accepted"), params=asked)
        return _read(BatchAcceptance, content)

    async def batch_totals(self, workspace_id: UUID, batch_id: str, since: int, until: int) -> BatchTotals:
        """Return the batch's sums, of the runs accepted within these times (UTC ms)."""
        asked = {"since": str(since), "until": str(until)}
        content = await self._client.call("GET", _batch(workspace_id, batch_id, "totals"), params=asked)
        return _read(BatchTotals, content)


def _read(kind: type[T], content: bytes) -> T:
    """Parse an answer with money in it: Pydantic would read a Decimal through a float, and lose digits."""
    return Success[kind].model_validate(json.loads(content, parse_float=Decimal)).data  # type: ignore[valid-type]


def _batch(workspace_id: UUID, batch_id: str, question: str) -> str:
    return f"/workspaces/{workspace_id}/batches/{batch_id}/{question}"
