"""`tallyrun rejected`: what was set aside as no run, and how it is replayed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated
from uuid import UUID

import typer

from tallyrun.client import Client
from tallyrun.command.output import note, write, write_json
from tallyrun.rejected import RejectedFilter, RejectedRecord, ReplayedRecord

SOME_FAILED = 3
SHOWN = 100
LISTED = ("offset", "rejected_at", "service", "topic", "workspace_id", "run_id", "model", "reason")
REPLAYED = ("offset", "run_id", "outcome", "why")
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]

app = typer.Typer(help="What was set aside as no run: list it, replay it (the operator alone).", no_args_is_help=True)

Service = Annotated[str | None, typer.Option(help="who set it aside: runner or analytics")]
Topic = Annotated[str | None, typer.Option(help="the topic it lay in")]
Reason = Annotated[str | None, typer.Option(help="text that the reason contains")]
Workspace = Annotated[UUID | None, typer.Option(help="the workspace it names")]
Since = Annotated[
    datetime | None,
    typer.Option(formats=TIMES, metavar="TIME", help="set aside then or later, in UTC or with an offset"),
]
Until = Annotated[datetime | None, typer.Option(formats=TIMES, metavar="TIME", help="set aside before then")]
Limit = Annotated[int, typer.Option(min=1, help="how many are shown")]
Json = Annotated[bool, typer.Option("--json", help="write JSON, with every field")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="publish nothing; say what would become of each record")]


@app.command("list")
def list_(
    service: Service = None,
    topic: Topic = None,
    reason: Reason = None,
    workspace: Workspace = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = SHOWN,
    as_json: Json = False,
) -> None:
    """List rejected records, oldest first: where each lay, why it is no run, never its prompt."""
    which = RejectedFilter(service, topic, reason, workspace, _aware(since), _aware(until))
    with Client() as client:
        found = client.rejected(which)
        _write(islice(found, limit), LISTED, as_json=as_json)
        if next(found, None) is not None:
            note(
                f"These are the first {limit}. More: --limit, or narrow them down with --since, --reason and the rest."
            )


@app.command()
def replay(
    service: Service = None,
    topic: Topic = None,
    reason: Reason = None,
    workspace: Workspace = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Replay rejected records: a run under its own id with a fresh grant. Repeat it freely: none is replayed twice."""
    which = RejectedFilter(service, topic, reason, workspace, _aware(since), _aware(until))
    counts: Counter[str] = Counter()
    with Client() as client:
        _write(_counted(client.replay_rejected(which, dry_run=dry_run), counts), REPLAYED, as_json=as_json)
    said = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(counts.items()))
    note(f"{'Dry run, nothing was published: ' if dry_run else ''}{said or 'no record fits'}")
    if counts["cannot_be_replayed"]:
        raise typer.Exit(SOME_FAILED)


def _write(rows: Iterable[RejectedRecord | ReplayedRecord], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        write_json(rows)
    else:
        write(rows, columns)


def _counted(records: Iterable[ReplayedRecord], counts: Counter[str]) -> Iterator[ReplayedRecord]:
    for record in records:
        counts[record.outcome] += 1
        yield record


def _aware(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
