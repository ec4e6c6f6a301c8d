"""`tallyrun cost`: what runs cost over some days, shared out by one or two things."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from pydantic import BaseModel, create_model

from tallyrun.command import wording
from tallyrun.command.period import Since, Tz, Until, days
from tallyrun.command.session import Session
from tallyrun.usage import Completeness, Group, Usage

COLUMNS = ("runs", "cost", "total_tokens", "avg_cost", "success_rate", "unpriced_runs")
SAID = ("outcome_rate", "score")
"""Shown where somebody said something of a run."""

OTHERS = "(others)"


def cost(
    session: Session,
    since: Since = "30d",
    until: Until = None,
    by: Annotated[
        str,
        typer.Option(help="one or two of model, provider, key, prompt, user, batch, day, week, label:NAME, …"),
    ] = "model",
    tz: Tz = "UTC",
    top: Annotated[int, typer.Option(min=1, max=10_000, help="so many are told apart, the costliest")] = 100,
) -> None:
    """Say what runs cost, and by what. The total goes to standard error."""
    asked = days(since, until, tz)
    with session.client() as client:
        told = client.costs(asked.period, start=asked.start, end=asked.end, by=by.split(","), tz=tz, top=top)
    session.note(_total(told))
    session.write(_rows(told), [*map(_column, told.by), *COLUMNS, *(SAID if told.totals.rated else ())])


def _rows(told: Usage) -> list[BaseModel]:
    """Return the groups with a field for each thing that they are shared out by."""
    fields: dict[str, Any] = {_column(name): (str, ...) for name in told.by}
    row = create_model("Share", __base__=Group, **fields)
    return [row(**dict(group), **_values(group, told.by)) for group in told.groups]


def _values(group: Group, by: Sequence[str]) -> dict[str, str]:
    return {_column(name): OTHERS if group.by[name] is None else str(group.by[name]) for name in by}


def _column(name: str) -> str:
    return name.replace(":", "_")


def _waiting(told: Completeness) -> list[str]:
    """Say what is not in the figures yet, or never will be."""
    counts = {"in flight": told.in_flight, "lost": told.lost}
    return [f"{count:,} {what}" for what, count in counts.items() if count]


def _total(told: Usage) -> str:
    totals = told.totals
    shown = sum(None not in group.by.values() for group in told.groups)
    parts = [
        f"{told.start} to {told.end} ({told.time_zone}): {wording.counted(totals.runs, 'run')}",
        wording.money(totals.cost),
        f"{totals.unpriced_runs:,} unpriced",
        *([f"{wording.money(totals.repeated_cost)} of it repeated"] if totals.repeated_executions else []),
        *([f"{wording.money(totals.cache_savings)} saved by caches"] if totals.cache_savings else []),
        *_waiting(told.completeness),
        *([f"{shown:,} of {told.values:,} told apart"] if shown < len(told.groups) else []),
        "nothing is counted yet" if told.read_up_to is None else f"counted up to {told.read_up_to:%Y-%m-%d %H:%M:%SZ}",
    ]
    return " · ".join(parts)
