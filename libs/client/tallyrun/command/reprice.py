"""`tallyrun reprice`: what runs would cost by other prices, and making it so."""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated

import typer

from tallyrun.client import Client
from tallyrun.command import wording
from tallyrun.command.period import Since, Tz, Until, days
from tallyrun.command.progress import Bar
from tallyrun.command.session import Session
from tallyrun.errors import NotUnderstood
from tallyrun.repricing import Reprice, RepricedModel

COLUMNS = ("provider", "model", "executions", "changed", "kept", "newly_priced", "was", "becomes", "difference")


class Catalogue(StrEnum):
    """Whose prices are taken."""

    INSTALLED = "installed"
    RECORDED = "recorded"


def reprice(
    session: Session,
    since: Since = "30d",
    until: Until = None,
    tz: Tz = "UTC",
    catalogue: Annotated[
        Catalogue, typer.Option(help="the gateway's prices of today, or those the runs were recorded at")
    ] = Catalogue.INSTALLED,
    discount: Annotated[
        list[str] | None, typer.Option(metavar="MODEL=PERCENT", help="off this model's price; may be repeated")
    ] = None,
    reason: Annotated[str, typer.Option(help="kept with each run that changes")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="change nothing; say what would change")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Price the runs of some days again (admins). It shows what would change, asks, and does it once.

    Each run keeps what it had cost before. Repeat it freely, also after it was interrupted: what is done stays done.
    """
    asked = Reprice(days(since, until, tz), catalogue.value, _discounts(discount or []), reason)
    with session.client() as client:
        found = _gone_through(session, client, asked, apply=False)
        session.write(found, COLUMNS)
        changed = sum(one.changed for one in found)
        session.note(f"{'Dry run, nothing was changed: ' if dry_run else ''}{_total(found)}")
        if changed and not dry_run and (yes or session.confirm(f"Change {wording.counted(changed, 'run')}?")):
            done = _gone_through(session, client, asked, apply=True)
            session.note(f"done: {_total(done)}")


def _gone_through(session: Session, client: Client, asked: Reprice, *, apply: bool) -> list[RepricedModel]:
    """Go through all pages, and return what they make together for each model."""
    models: dict[tuple[str, str], RepricedModel] = {}
    with Bar(session) as bar:
        for page in client.reprice(asked, apply=apply):
            bar.repriced(page.share, apply=apply)
            for group in page.groups:
                name = group.provider, group.model
                models[name] = _sum(models[name], group) if name in models else group
    return sorted(models.values(), key=lambda one: (-abs(one.difference), one.provider, one.model))


def _sum(one: RepricedModel, other: RepricedModel) -> RepricedModel:
    added = ("executions", "changed", "kept", "newly_priced", "was", "becomes")
    return one.model_copy(update={name: getattr(one, name) + getattr(other, name) for name in added})


def _total(models: Iterable[RepricedModel]) -> str:
    was, becomes, changed = Decimal(0), Decimal(0), 0
    for one in models:
        was, becomes, changed = was + one.was, becomes + one.becomes, changed + one.changed
    return f"{wording.counted(changed, 'run')} · {wording.money(was)} → {wording.money(becomes)}"


def _discounts(given: list[str]) -> dict[str, Decimal]:
    pairs = [text.rpartition("=") for text in given]
    try:
        found = {model: Decimal(percent.removesuffix("%")) for model, _, percent in pairs}
    except InvalidOperation:
        raise NotUnderstood("--discount is MODEL=PERCENT, such as gpt-4o=12.5") from None
    if not all(found) or not all(0 <= percent <= 100 for percent in found.values()):
        raise NotUnderstood("--discount is MODEL=PERCENT, from 0 to 100")
    return found
