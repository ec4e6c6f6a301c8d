"""`ls`, `status`, `watch`, `results`, `retry`, `cancel`: batches that exist."""

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from tallyrun.batches import Again, BatchStatus, Only, State
from tallyrun.command import wording
from tallyrun.command.outfile import must_be_writable, write_into
from tallyrun.command.output import Format
from tallyrun.command.progress import Bar
from tallyrun.command.run import Detach, MaxCost, Output
from tallyrun.command.session import Session
from tallyrun.command.watching import Watching
from tallyrun.errors import NotUnderstood

LISTED = ("id", "name", "state", "rows", "succeeded", "failed", "cost", "created_at")
TOLD = ("id", "name", "state", "paused_reason", "rows", "done", "succeeded", "failed", "expired", "cancelled", "cost",
        "unpriced", "max_cost", "created_at", "ended_at", "retry_of", "labels")  # fmt: skip
RESULTS = ("custom_id", "status", "output", "error_code", "error", "model", "cost", "latency")
WITH_INPUTS = (*RESULTS, "input")

BatchId = Annotated[str, typer.Argument(metavar="BATCH", help="a batch's id")]


def ls(
    session: Session,
    state: Annotated[State | None, typer.Option(help="only batches in this state")] = None,
    label: Annotated[str | None, typer.Option(metavar="K=V", help="only batches with this label")] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many are shown")] = 50,
) -> None:
    """List batches, newest first."""
    with session.client() as client:
        found = client.list(state=state, label=label)
        session.write([BatchStatus(**dict(batch)) for batch in islice(found, limit)], LISTED)
        if next(found, None) is not None:
            session.note(f"These are the newest {limit}. More: --limit, or narrow them down with --state and --label.")


def status(session: Session, batch_id: BatchId) -> None:
    """Say how a batch stands."""
    with session.client() as client:
        found = client.get(batch_id)
    session.note(wording.progress(found).strip())
    session.write_one(BatchStatus(**dict(found)), TOLD)


def watch(session: Session, batch_id: BatchId, output: Output = None) -> None:
    """Watch a batch to its end."""
    must_be_writable(output)
    watching = Watching(session, output)

    async def begin() -> None:
        async with session.async_client() as client:
            batch = await client.get(batch_id)
            with Bar(session) as bar:
                await watching.to_the_end(client, batch, bar)
            await watching.conclude(batch)

    watching.run(begin())


def results(
    session: Session,
    batch_id: BatchId,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="a file; JSON lines, or as --format says")
    ] = None,
    only: Annotated[Only | None, typer.Option(help="only rows that ended so")] = None,
    include_inputs: Annotated[bool, typer.Option("--include-inputs", help="with each row's request")] = False,
) -> None:
    """Write how a batch's rows ended: those that have, by now."""
    must_be_writable(output)
    columns = WITH_INPUTS if include_inputs else RESULTS
    with session.client() as client:
        found = client.results(batch_id, only=only, include_inputs=include_inputs)
        if output in (None, "-"):
            session.write(found, columns)
            return
        write_into(Path(str(output)), found, columns, session.how or Format.JSONL)


def retry(
    session: Session,
    batch_id: BatchId,
    failed: Annotated[bool, typer.Option("--failed", help="rows that failed")] = False,
    expired: Annotated[bool, typer.Option("--expired", help="rows that expired")] = False,
    cancelled: Annotated[bool, typer.Option("--cancelled", help="rows that were cancelled")] = False,
    ids: Annotated[Path | None, typer.Option(help="a file with a custom_id a line")] = None,
    max_cost: MaxCost = None,
    detach: Detach = False,
    output: Output = None,
) -> None:
    """Run rows of an ended batch again, as a batch of their own: all that did not succeed, unless it is said which."""
    must_be_writable(output)
    chosen = {"failed": failed, "expired": expired, "cancelled": cancelled}
    only: list[Again] = [kind for kind, given in chosen.items() if given]  # type: ignore[misc] # the keys are these
    custom_ids = None if ids is None else ids_of(ids)
    key = hashlib.sha256(json.dumps([batch_id, only, custom_ids]).encode()).hexdigest()
    watching = Watching(session, output)

    async def begin() -> None:
        async with session.async_client() as client:
            batch = await client.retry(batch_id, only=only, custom_ids=custom_ids, max_cost=max_cost, key=key)
            session.note(f"{batch.id} runs {wording.counted(batch.rows, 'row')} of {batch_id} again; Ctrl-C detaches")
            if detach:
                print(batch.id)
                return
            with Bar(session) as bar:
                await watching.to_the_end(client, batch, bar)
            await watching.conclude(batch)

    watching.run(begin())


def cancel(session: Session, batch_id: BatchId) -> None:
    """Stop a batch: what was not called ends as cancelled, calls in flight finish."""
    with session.client() as client:
        found = client.cancel(batch_id)
    session.note(f"{found.id} is {found.state}")
    session.write_one(found, TOLD)


def ids_of(file: Path) -> list[str]:
    """Return the ids of a file with one a line."""
    try:
        found = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise NotUnderstood(f"{file} cannot be read: {error}") from error
    if not found:
        raise NotUnderstood(f"{file} names no rows")
    return found
