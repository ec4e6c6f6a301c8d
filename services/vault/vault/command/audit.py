"""`vault audit`: is it whole, what does it say, and what was published of it."""

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import orjson
import typer

from common.identity import Verifier
from vault.chain import NO_WORKSPACE, Row, columns
from vault.command.opened import opened_store
from vault.command.output import FAILED, SOME_FAILED, note, run
from vault.command.progress import Counting
from vault.published import NotTheVaults, from_file, from_topic, stated
from vault.settings import VaultSettings
from vault.store import Store
from vault.store.audit import Period
from vault.verify import Comparison, Fault, Walk, named, of_workspace

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]

app = typer.Typer(help="The audit: verify it, export it, and the published heads of it.", no_args_is_help=True)

Workspace = Annotated[UUID | None, typer.Option(help="this workspace's chain alone")]
HeadsFile = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="published heads that you kept, not those in Kafka")
]
NoHeads = Annotated[bool, typer.Option("--no-heads", help="compare with none: truncation cannot be seen")]
Since = Annotated[
    datetime | None, typer.Option(formats=TIMES, metavar="TIME", help="then or later, in UTC or with an offset")
]
Until = Annotated[datetime | None, typer.Option(formats=TIMES, metavar="TIME", help="before then")]


@app.command()
def verify(workspace: Workspace = None, heads: HeadsFile = None, no_heads: NoHeads = False) -> None:
    """Check every row, every chain and every published head; print each fault on a line of its own.

    Exits with 0 where the audit is whole, 3 where it is not, 1 where that could not be found out, 7 where the database
    or the broker is away.
    """
    run(_verify(VaultSettings(), workspace, heads, compare=not no_heads))


@app.command()
def export(workspace: Workspace = None, since: Since = None, until: Until = None) -> None:
    """Write the rows as JSON lines, each with its place in its chain, whatever their number."""
    run(_export(VaultSettings(), Period(workspace, _ms(since, 0), _ms(until, Period.until))))


@app.command()
def heads() -> None:
    """Write the published heads as JSON lines: keep them where nobody who can reach the vault's database can."""
    run(_heads(VaultSettings()))


async def _verify(settings: VaultSettings, workspace: UUID | None, file: Path | None, *, compare: bool) -> None:
    async with opened_store(settings) as (store, _, audit_key):
        async with store.audit_reader() as reader:
            walk = Walk(audit_key, await reader.heads(workspace))
            faults = await _walked(walk, reader.rows(Period(workspace)))
        if compare:
            statements = from_topic(settings.kafka_bootstrap_servers) if file is None else from_file(file)
            verifier = Verifier.load(settings.identity_dir)
            comparison = await _compared(store, verifier, statements, workspace)
            faults += _told(comparison.faults())
    note(f"{walk.rows:,} rows, {faults:,} faults.")
    if faults:
        raise typer.Exit(SOME_FAILED)
    if compare and walk.rows and not comparison.heads:
        note("No published head: whether the newest rows were taken away cannot be seen. --no-heads leaves it at that.")
        raise typer.Exit(FAILED)


async def _walked(walk: Walk, rows: AsyncIterator[Row]) -> int:
    """Verify all rows, telling faults as they are found; return how many."""
    found = 0
    with Counting("rows verified") as counting:
        async for row in rows:
            found += _told(list(walk.row(row)))
            counting.show(walk.rows)
        return found + _told(list(walk.end()))


async def _compared(
    store: Store, verifier: Verifier, statements: AsyncIterator[str], workspace: UUID | None
) -> Comparison:
    strange, newest = 0, 0
    async with store.audit_reader() as reader:
        comparison = Comparison(reader.macs)
        with Counting("heads compared") as counting:
            async for statement in statements:
                try:
                    said = stated(verifier, statement)
                except NotTheVaults:
                    strange += 1
                    continue
                newest = max(newest, said.at)
                await comparison.compare(of_workspace(said.heads, workspace), said.at)
                counting.show(comparison.heads)
    if comparison.heads:
        note(
            f"{comparison.heads:,} published heads of {len(comparison.chains):,} chains, the newest of {_time(newest)}."
        )
    if strange:
        note(f"{strange:,} statements were not signed by the vault, and were passed over.")
    return comparison


async def _export(settings: VaultSettings, period: Period) -> None:
    store = Store(settings.database_url.get_secret_value())
    try:
        async with store.audit_reader() as reader:
            with Counting("rows exported") as counting:
                rows = 0
                async for row in reader.rows(period):
                    sys.stdout.buffer.write(_line(row))
                    rows += 1
                    counting.show(rows)
    finally:
        await store.close()


async def _heads(settings: VaultSettings) -> None:
    async for statement in from_topic(settings.kafka_bootstrap_servers):
        sys.stdout.buffer.write(orjson.dumps({"statement": statement}, option=orjson.OPT_APPEND_NEWLINE))


def _line(row: Row) -> bytes:
    return orjson.dumps(columns(row), default=_text, option=orjson.OPT_APPEND_NEWLINE)


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)  # else an id, of the driver's own class


def _told(faults: list[Fault]) -> int:
    for fault in map(named, faults):
        chain = "no workspace" if fault.chain == NO_WORKSPACE else f"workspace {fault.chain}"
        print(f"{chain} {fault.kind} {_time(fault.at)} {fault.says}", flush=True)
    return len(faults)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds") if ms else "at an unknown time"


def _ms(time: datetime | None, default: int) -> int:
    if time is None:
        return default
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
