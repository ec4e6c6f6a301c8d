"""`tallyrun cost`: what a period's runs cost, by what the gateway's overview tells."""

from typing import Annotated, Any, Literal

import typer

from tallyrun.command import wording
from tallyrun.command.session import Session
from tallyrun.errors import NotUnderstood
from tallyrun.overview import Overview, Period

By = Literal["model", "prompt", "day"]

COLUMNS: dict[str, tuple[str, ...]] = {
    "model": ("model", "runs", "cost", "tokens", "avg_cost", "success_rate", "unpriced_runs"),
    "prompt": ("prompt_id", "preview", "runs", "total_cost", "avg_cost", "last_run"),
    "day": ("date", "runs", "cost", "tokens", "succeeded", "failed"),
}


def cost(
    session: Session,
    since: Annotated[str, typer.Option(metavar="7d|30d|90d|1y", help="so many UTC days, today included")] = "30d",
    by: Annotated[By, typer.Option(help="what it is shared out by; of prompts, the costliest")] = "model",
) -> None:
    """Say what runs cost, and by what. The total goes to standard error."""
    with session.client() as client:
        told = client.costs(_period(since))
    session.note(_total(told, since))
    session.write(_shares(told, by), COLUMNS[by])


def _period(since: str) -> Period:
    """Return the period; the gateway knows these four."""
    if since in ("7d", "30d", "90d", "1y"):
        return since  # type: ignore[return-value] # it is one of them
    raise NotUnderstood("the gateway tells costs of 7d, 30d, 90d or 1y, in UTC: say one of these with --since")


def _shares(told: Overview, by: By) -> list[Any]:
    shares: dict[str, list[Any]] = {
        "model": told.model_breakdown,
        "prompt": told.expensive_prompts,
        "day": told.time_series,
    }
    return shares[by]


def _total(told: Overview, since: str) -> str:
    totals = told.overview
    parts = [
        f"{since}: {wording.counted(totals.total_runs, 'run')}",
        wording.money(totals.total_cost),
        f"{totals.unpriced_runs:,} unpriced",
        *([f"{wording.money(totals.repeated_cost)} of it repeated"] if totals.repeated_executions else []),
        "nothing is counted yet" if told.read_up_to is None else f"counted up to {told.read_up_to:%Y-%m-%d %H:%M:%SZ}",
    ]
    return " · ".join(parts)
