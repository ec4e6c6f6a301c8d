"""One batch: what of it ended, in the order of the log; what reached the log; its sums."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Annotated, Any, NamedTuple, Protocol
from uuid import UUID

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from analytics.database import Database
from analytics.hours import hour_of
from common.contracts.answers_v1 import TokensUsed
from common.contracts.batch_answers_v1 import BatchAcceptance, BatchAccepted, BatchRow, BatchRows, BatchTotals
from common.errors import InvalidRequest

PAGE_BYTES = 16 * 1024 * 1024
"""A page with texts holds records of this size together, or a single larger one."""

Row = dict[str, Any]
Offsets = Mapping[str, Sequence[int]]
"""By topic, for each of its partitions."""

_NO_ID = UUID(int=0)
_OFFSETS = TypeAdapter(dict[str, list[Annotated[int, Field(ge=0, lt=2**63)]]])


class Stored(NamedTuple):
    """How much of the log is stored: all that was appended before `up_to` (UTC ms), and what lies before `offsets`."""

    up_to: int
    offsets: Offsets


class Log(Protocol):
    """Knows how much of the log is stored."""

    @property
    def stored(self) -> Stored:
        """How much that is, as of the last look."""


class Span(NamedTuple):
    """When runs were accepted: from `since` on and before `until`, in UTC ms."""

    since: int
    until: int

    def parameters(self) -> dict[str, int]:
        """Return what queries are told of it."""
        return {**self._asdict(), "from": hour_of(self.since), "to": hour_of(self.until)}


class Batches:
    """Answers for one batch of one workspace at a time.

    Places in the log, not times, say what a reader has seen: clocks differ and step back, offsets do not.
    """

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log

    async def rows(self, workspace: UUID, batch: str, cursor: str | None, limit: int, *, texts: bool) -> BatchRows:
        """Return at most `limit` executions that ended after the cursor's place, with what was said if `texts`."""
        stored = self._log.stored  # before the query: what it says is stored is found
        after = decode(cursor)
        found = await self._after(workspace, batch, after, stored.offsets, limit)
        page = _fitting(found) if texts else found
        said = await self._texts(workspace, batch, page) if texts and page else {}
        return BatchRows(
            rows=[_row(row, said.get(row["execution_id"], {})) for row in page],
            next_cursor=encode(_past(page, after)),
            read_up_to=stored.up_to,
        )

    async def _after(self, workspace: UUID, batch: str, after: Offsets, stored: Offsets, limit: int) -> list[Row]:
        found: list[Row] = []
        for topic in stored:
            rows = await self._database.rows(
                "batch_rows",
                workspace=workspace,
                batch=batch,
                topic=topic,
                after=list(after.get(topic, ())),
                stored=list(stored[topic]),
                limit=limit - len(found),
            )
            found += ({**row, "topic": topic} for row in rows)
            if len(found) == limit:
                break
        return found

    async def _texts(self, workspace: UUID, batch: str, page: Sequence[Row]) -> dict[UUID, Row]:
        hours = [hour_of(row["accepted_at"]) for row in page]
        first, last = _bounds(page)
        rows = await self._database.rows(
            "batch_texts",
            workspace=workspace,
            batch=batch,
            first_hour=min(hours),
            last_hour=max(hours),
            partitions=sorted(last),
            **{"from": _array(first), "to": _array(last)},
        )
        return {row["execution_id"]: row for row in rows}

    async def accepted(
        self, workspace: UUID, batch: str, span: Span, cursor: UUID | None, limit: int
    ) -> BatchAcceptance:
        """Return at most `limit` runs that reached the log, those with a greater id than the cursor."""
        stored = self._log.stored
        rows = await self._database.rows(
            "batch_accepted",
            workspace=workspace,
            batch=batch,
            after=cursor or _NO_ID,
            limit=limit + 1,
            **span.parameters(),
        )
        runs = [BatchAccepted(run_id=row["run_id"], custom_id=row["custom_id"] or None) for row in rows[:limit]]
        following = str(runs[-1].run_id) if len(rows) > limit else None
        return BatchAcceptance(rows=runs, next_cursor=following, read_up_to=stored.up_to)

    async def totals(self, workspace: UUID, batch: str, span: Span) -> BatchTotals:
        """Return the batch's sums, over the runs that were accepted within the span."""
        stored = self._log.stored
        asked = {"workspace": workspace, "batch": batch, **span.parameters()}
        (accepted,) = await self._database.rows("batch_accepted_count", **asked)
        (sums,) = await self._database.rows("batch_totals", **asked)
        return BatchTotals(**accepted, **sums, read_up_to=stored.up_to)


def encode(offsets: Offsets) -> str:
    """Return the cursor that stands for going on from these offsets."""
    return base64.urlsafe_b64encode(orjson.dumps(offsets)).decode()


def decode(cursor: str | None) -> Offsets:
    """Read a cursor, or raise `InvalidRequest`; None is the beginning."""
    try:
        return _OFFSETS.validate_json(base64.urlsafe_b64decode(cursor)) if cursor else {}
    except (binascii.Error, ValueError, ValidationError):
        raise InvalidRequest("after: not a cursor that a page of a batch answered") from None


def _past(page: Sequence[Row], after: Offsets) -> Offsets:
    """Return the offsets to go on from. A page holds a beginning of what follows in each partition."""
    following = {topic: list(offsets) for topic, offsets in after.items()}
    for row in page:
        offsets, partition = following.setdefault(row["topic"], []), row["log_partition"]
        offsets.extend([0] * (partition + 1 - len(offsets)))
        offsets[partition] = row["log_offset"] + 1
    return following


def _bounds(page: Sequence[Row]) -> tuple[dict[int, int], dict[int, int]]:
    """Return the first and the last offset of each partition in the page, which is in their order."""
    places = [(row["log_partition"], row["log_offset"]) for row in page]
    return dict(reversed(places)), dict(places)


def _array(offsets: Mapping[int, int]) -> list[int]:
    return [offsets.get(partition, 0) for partition in range(max(offsets) + 1)]


def _fitting(rows: Sequence[Row]) -> Sequence[Row]:
    """Return as many as fit into a page with their texts, and at least one."""
    sizes = accumulate(row["log_bytes"] for row in rows)
    return rows[: max(1, sum(1 for _ in takewhile(lambda size: size <= PAGE_BYTES, sizes)))]


def _row(row: Row, said: Row) -> BatchRow:
    tokens = {name: row[name] for name in ("input", "output", "cached", "cache_writes", "reasoning")}
    return BatchRow(
        run_id=row["run_id"],
        execution_id=row["execution_id"],
        custom_id=row["custom_id"] or None,
        status=row["status"],
        error_code=row["error_code"] or None,
        error=row["error"] or None,
        retry_at=row["retry_at"],
        cost=row["cost"] if row["priced"] else None,
        priced=row["priced"],
        usage=TokensUsed(**tokens, total=tokens["input"] + tokens["output"]),
        operation=row["operation"],
        provider=row["provider"],
        model=row["model"],
        served_model=row["served_model"] or None,
        finish_reason=row["finish_reason"] or None,
        truncated=row["truncated"],
        latency=row["latency_ms"],
        completed_at=row["completed_at"],
        output=said.get("output"),
        response=said.get("response"),
    )
