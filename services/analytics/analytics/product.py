"""How much of the product is used: runs a day, users and what each costs, models."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

from analytics.database import Database
from analytics.money import mean
from analytics.question import Question, question_of
from analytics.usage import Usages
from common.contracts.answers_v1 import Period
from common.contracts.product_v1 import ModelUsed, ProductDay, ProductUse
from common.contracts.usage_v1 import Usage, UsageAsked
from common.ids import now_ms

Row = dict[str, Any]

NOBODY: Row = {"users": 0, "named_cost": Decimal(0), "unnamed_cost": Decimal(0)}


class Products:
    """Answers for one workspace at a time. Users are counted from the runs, everything else from the rollups."""

    def __init__(self, database: Database, usages: Usages, clock: Callable[[], int] = now_ms) -> None:
        self._database = database
        self._usages = usages
        self._clock = clock

    async def answer(self, workspace: UUID, period: Period) -> ProductUse:
        """Return the period of UTC calendar days that ends today."""
        question = question_of(UsageAsked(period=period, by=["day"]), self._clock())
        usage = await self._usages.usage(workspace, question)
        models, users = await asyncio.gather(
            self._rows("product_models", workspace, question), self._rows("product_users", workspace, question)
        )
        return _product(usage, [ModelUsed(**row) for row in models], {row["day"]: row for row in users})

    async def _rows(self, query: str, workspace: UUID, question: Question) -> list[Row]:
        span = {"from": question.days.start, "to": question.days.end}
        return await self._database.rows(query, workspace=workspace, **span)


def _product(usage: Usage, models: list[ModelUsed], users: dict[str, Row]) -> ProductUse:
    everybody = users.get("", NOBODY)
    return ProductUse(
        start=usage.start,
        end=usage.end,
        runs=usage.totals.runs,
        runs_a_day=usage.totals.runs / len(usage.times),
        days=_days(usage, users),
        users=everybody["users"],
        cost=usage.totals.cost,
        cost_without_user=everybody["unnamed_cost"],
        cost_per_user=mean(everybody["named_cost"], everybody["users"]) if everybody["users"] else None,
        models=models,
        source=usage.source,
        read_up_to=usage.read_up_to,
        completeness=usage.completeness,
    )


def _days(usage: Usage, users: dict[str, Row]) -> list[ProductDay]:
    figures = {group.by["day"]: group for group in usage.groups}

    def day(date: str) -> ProductDay:
        found = figures.get(date)
        runs, cost = (found.runs, found.cost) if found else (0, Decimal(0))
        return ProductDay(date=date, runs=runs, users=users.get(date, NOBODY)["users"], cost=cost)

    return [day(date) for date in usage.times]
