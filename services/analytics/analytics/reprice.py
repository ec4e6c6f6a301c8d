"""Prices the runs of a period again: says what would change, or changes it exactly once, whoever is killed."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from analytics.calendar import Days
from analytics.database import Database, Table
from analytics.money import EXACT
from analytics.prices import Prices, Repriced, current
from analytics.question import question_of
from analytics.spans import Stretch, stretches
from common.catalogue import CATALOGUE
from common.contracts.reprice_v1 import RepriceAsked, RepriceGroup, RepricePage
from common.contracts.runs_v1 import Cost
from common.contracts.usage_v1 import UsageAsked
from common.ids import now_ms

PAGE = 20_000
PAGE_SECONDS = 3.0
"""An answer is given after this long, and says where to go on: who waits sees how far it is."""

REPRICINGS = Table(
    "repricings",
    (
        *("workspace_id", "run_id", "execution_id", "accepted_at", "batch_id", "version", "repriced_at", "reason"),
        *("was", "becomes", "list_components"),
    ),
)
STEPS = ("reprice_batch_runs", "reprice_runs", "reprice_marks", "reprice_done")
"""From what was written down to the tables it changes. Each may be done again."""

Row = Mapping[str, Any]


@dataclass
class Tally:
    """Counts what becomes of the executions, by provider and model."""

    groups: dict[tuple[str, str], RepriceGroup] = field(default_factory=dict)

    def add(self, row: Row, repriced: Repriced) -> None:
        """Count one."""
        was = current(row)
        name = row["provider"], row["model"]
        one = self.groups.get(name) or _nothing(*name)
        self.groups[name] = one.model_copy(
            update={
                "executions": one.executions + 1,
                "changed": one.changed + _differs(row, repriced),
                "kept": one.kept + repriced.kept,
                "newly_priced": one.newly_priced + (repriced.cost.priced and not was.priced),
                "was": EXACT.add(one.was, was.total or Decimal(0)),
                "becomes": EXACT.add(one.becomes, repriced.cost.total or Decimal(0)),
            }
        )


class Repricing:
    """Answers for one workspace at a time. `catalogues`: each provider's name in the price catalogue."""

    def __init__(
        self, database: Database, catalogues: Mapping[str, str | None], clock: Callable[[], int] = now_ms
    ) -> None:
        self._database = database
        self._catalogues = catalogues
        self._clock = clock

    async def page(self, workspace: UUID, asked: RepriceAsked) -> RepricePage:
        """Reprice, or only compare, from the cursor on for a few seconds; answer how far that went."""
        days = _days(asked, self._clock())
        since = days.start * 1000 if asked.cursor is None else asked.cursor
        if asked.apply and asked.cursor is None:
            await self.finish(workspace)
        tally, prices, ends = Tally(), Prices(self._catalogues, asked), time.monotonic() + PAGE_SECONDS
        following: int | None = None
        enough = False
        async for stretch in stretches(self._database, workspace, since, days.end * 1000, PAGE):
            if enough:
                following = stretch.since
                break
            await self._reprice(workspace, stretch, prices, asked, tally)
            enough = time.monotonic() >= ends
        return _answer(asked, days, tally, following)

    async def finish(self, *workspaces: UUID) -> None:
        """Finish what was written down and not carried out: somebody was killed in between."""
        for row in await self._database.rows("reprice_unfinished", workspaces=list(workspaces)):
            await self._carry_out(row["workspace_id"], row["first_hour"], row["last_hour"], row["version"])

    async def _reprice(
        self, workspace: UUID, stretch: Stretch, prices: Prices, asked: RepriceAsked, tally: Tally
    ) -> None:
        rows = await self._database.rows("reprice_rows", workspace=workspace, **stretch.parameters())
        repriced = await asyncio.to_thread(lambda: [prices(row) for row in rows])
        changed = []
        for row, one in zip(rows, repriced, strict=True):
            tally.add(row, one)
            if asked.apply and _differs(row, one):
                changed.append((row, one))
        if changed:
            version = max(time.time_ns(), 1 + max(row["version"] for row, _ in changed))
            written = [self._written(workspace, row, one, asked.reason, version) for row, one in changed]
            await self._database.insert(REPRICINGS, written)
            hours = [row["hour"] for row, _ in changed]
            await self._carry_out(workspace, min(hours), max(hours), version)

    async def _carry_out(self, workspace: UUID, first_hour: int, last_hour: int, version: int) -> None:
        asked = {"workspace": workspace, "from": first_hour, "to": last_hour, "versions": [version]}
        for step in STEPS:
            await self._database.execute(step, now=self._clock(), **asked)

    def _written(self, workspace: UUID, row: Row, one: Repriced, reason: str, version: int) -> bytes:
        values = {
            **{name: row[name] for name in ("run_id", "execution_id", "accepted_at", "batch_id")},
            "workspace_id": workspace,
            "version": version,
            "repriced_at": self._clock(),
            "reason": reason,
            "was": _json(current(row)),
            "becomes": _json(one.cost),
            "list_components": {kind: format(amount, "f") for kind, amount in one.list_components.items()},
        }
        return orjson.dumps(values)


def _json(cost: Cost) -> dict[str, Any]:
    return cost.model_dump(mode="json")


def _differs(row: Row, one: Repriced) -> bool:
    """Whether the execution would cost something else, or at another list price: the same under another name is not."""
    was = current(row)
    return (was.priced, was.total, was.components, row["list_components"]) != (
        *(one.cost.priced, one.cost.total, one.cost.components),
        dict(one.list_components),
    )


def _days(asked: RepriceAsked, now: int) -> Days:
    days = {"period": asked.period, "from": asked.from_, "to": asked.to, "tz": asked.tz}
    return question_of(UsageAsked.model_validate(days), now).days


def _nothing(provider: str, model: str) -> RepriceGroup:
    zeros = dict.fromkeys(("executions", "changed", "kept", "newly_priced"), 0)
    return RepriceGroup(provider=provider, model=model, **zeros, was=Decimal(0), becomes=Decimal(0))


def _answer(asked: RepriceAsked, days: Days, tally: Tally, following: int | None) -> RepricePage:
    return RepricePage(
        start=str(days.first),
        end=str(days.last),
        time_zone=days.zone.key,
        catalogue=CATALOGUE if asked.catalogue == "installed" else "as recorded",
        applied=asked.apply,
        groups=[tally.groups[name] for name in sorted(tally.groups)],
        share=1.0 if following is None else (following - days.start * 1000) / (days.end - days.start) / 1000,
        next_cursor=following,
    )
