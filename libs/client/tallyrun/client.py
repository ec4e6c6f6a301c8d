"""The gateway's API as Python."""

import os
from collections.abc import Iterator
from typing import Any, Self

import httpx2

from tallyrun.errors import TallyrunError, Unreachable
from tallyrun.rejected import RejectedFilter, RejectedRecord, ReplayedRecord

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_SECONDS = 120.0
"""Longer than any call takes, so that an answer is not missed; a gateway that is gone is noticed at once."""

CONNECT_SECONDS = 5.0
REPLAYED_AT_ONCE = 50
EVERYTHING = RejectedFilter()


class Client:
    """Calls one gateway with one token; by default those of `TALLYRUN_URL` and `TALLYRUN_TOKEN`. Close it after use."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = url or os.environ.get("TALLYRUN_URL") or DEFAULT_URL
        secret = (token or os.environ.get("TALLYRUN_TOKEN") or "").strip()
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {secret}"} if secret else {},
            timeout=httpx2.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def rejected(self, which: RejectedFilter = EVERYTHING) -> Iterator[RejectedRecord]:
        """Yield the rejected records that fit, oldest first (the operator alone)."""
        asked = which.asked()
        while True:
            page = self._call("GET", "/api/rejected", params=asked)
            yield from map(RejectedRecord.model_validate, page["records"])
            if page["nextCursor"] is None:
                return
            asked["cursor"] = page["nextCursor"]

    def replay_rejected(self, which: RejectedFilter = EVERYTHING, *, dry_run: bool = False) -> Iterator[ReplayedRecord]:
        """Replay the rejected records that fit, and yield what became of each (the operator alone).

        Each is replayed before it is yielded, some of those after it too. Repeating this replays nothing twice.
        """
        asked = {**which.asked(), "dryRun": dry_run, "limit": REPLAYED_AT_ONCE}
        while True:
            page = self._call("POST", "/api/rejected/replay", json=asked)
            yield from map(ReplayedRecord.model_validate, page["records"])
            if page["nextCursor"] is None:
                return
            asked["cursor"] = page["nextCursor"]

    def _call(self, method: str, path: str, **request: Any) -> Any:
        """Return the answer's data, or raise what the gateway said."""
        try:
            answer = self._http.request(method, path, **request)
        except httpx2.TransportError as error:
            raise Unreachable(f"{self.url} does not answer: {error}") from error
        body = _json(answer)
        if not answer.is_success or "data" not in body:
            raise _refusal(answer, body)
        return body["data"]


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _refusal(answer: httpx2.Response, body: dict[str, Any]) -> TallyrunError:
    wait = answer.headers.get("retry-after", "")
    return TallyrunError(
        str(body.get("error", f"{answer.url.host} answered {answer.status_code}, not as a gateway does")),
        code=str(body.get("code", "unexpected_answer")),
        status=answer.status_code,
        retry_after=float(wait) if wait.isdecimal() else None,
    )
