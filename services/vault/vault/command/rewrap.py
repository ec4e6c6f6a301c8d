"""`vault rewrap`: every stored secret's data key comes under the primary version."""

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vault.command.opened import opened_keyring
from vault.command.output import SOME_FAILED, note, run
from vault.rewrap import Outcome, Rewrap
from vault.settings import KeyringSettings


def rewrap() -> None:
    """Wrap every stored secret's data key under the primary version. The vault serves on; repeat it freely.

    Exits with 3 if some secrets do not open, and names them.
    """
    run(_rewrap())


async def _rewrap() -> None:
    async with opened_keyring(KeyringSettings()) as opened:
        records, uses = await opened.keyring.read(), await opened.store.kek_uses()
        primary = next((record.version for record in records if record.state == "primary"), None)
        total = sum(secrets for version, secrets in uses.items() if version != primary)
        with _progress() as progress:
            task = progress.add_task("rewrapping", total=total)
            outcome = await Rewrap(opened.store, opened.keyring).run(lambda done: progress.advance(task, done))
        left = await opened.store.kek_uses()
    _tell(outcome, left)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _tell(outcome: Outcome, left: dict[int, int]) -> None:
    for stored in outcome.damaged:
        at = stored.context
        note(f"does not open: workspace {at.workspace_id}, {at.provider} key {at.key_id}, version {at.version}")
    note(f"{outcome.rewrapped} rewrapped, {outcome.changed} changed meanwhile, {len(outcome.damaged)} do not open.")
    note("Sealed now: " + ", ".join(f"{secrets} under version {version}" for version, secrets in sorted(left.items())))
    if outcome.damaged:
        raise typer.Exit(SOME_FAILED)
