"""`tallyrun rejected`: what was set aside as no run, and how it is replayed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Annotated
from uuid import UUID

import typer

from tallyrun.command.exits import SOME_FAILED
from tallyrun.command.session import Session, command
from tallyrun.command.times import aware, moment
from tallyrun.rejected import RejectedFilter, ReplayedRecord

SHOWN = 100
LISTED = ("offset", "rejected_at", "service", "topic", "workspace_id", "run_id", "model", "reason")
REPLAYED = ("offset", "run_id", "outcome", "why")

app = typer.Typer(help="What was set aside as no run: list it, replay it (the operator alone).", no_args_is_help=True)

Service = Annotated[str | None, typer.Option(help="who set it aside: runner or analytics")]
Topic = Annotated[str | None, typer.Option(help="the topic it lay in")]
Reason = Annotated[str | None, typer.Option(help="text that the reason contains")]
Workspace = Annotated[UUID | None, typer.Option(help="the workspace it names")]
Since = Annotated[datetime | None, moment("set aside then or later")]
Until = Annotated[datetime | None, moment("set aside before then")]
Limit = Annotated[int, typer.Option(min=1, help="how many are shown")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="publish nothing; say what would become of each record")]


@command(app, "list")
def list_(
    session: Session,
    service: Service = None,
    topic: Topic = None,
    reason: Reason = None,
    workspace: Workspace = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = SHOWN,
) -> None:
    """List rejected records, oldest first: where each lay, why it is no run, never its prompt."""
    which = RejectedFilter(service, topic, reason, workspace, aware(since), aware(until))
    with session.client() as client:
        found = client.rejected(which)
        session.write(islice(found, limit), LISTED)
        if next(found, None) is not None:
            session.note(
                f"These are the first {limit}. More: --limit, or narrow them down with --since, --reason and the rest."
            )


@command(app)
def replay(
    session: Session,
    service: Service = None,
    topic: Topic = None,
    reason: Reason = None,
    workspace: Workspace = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
) -> None:
    """Replay rejected records: a run under its own id with a fresh grant. Repeat it freely: none is replayed twice."""
    which = RejectedFilter(service, topic, reason, workspace, aware(since), aware(until))
    counts: Counter[str] = Counter()
    with session.client() as client:
        session.write(_counted(client.replay_rejected(which, dry_run=dry_run), counts), REPLAYED)
    said = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(counts.items()))
    session.note(f"{'Dry run, nothing was published: ' if dry_run else ''}{said or 'no record fits'}")
    if counts["cannot_be_replayed"]:
        raise typer.Exit(SOME_FAILED)


def _counted(records: Iterable[ReplayedRecord], counts: Counter[str]) -> Iterator[ReplayedRecord]:
    for record in records:
        counts[record.outcome] += 1
        yield record
