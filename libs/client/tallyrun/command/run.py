"""`tallyrun quote` and `tallyrun run`: a file of rows, what it would cost, and its end."""

import sys
from decimal import Decimal
from typing import IO, Annotated

import typer

from tallyrun.batches import Mode, Quote
from tallyrun.command import wording
from tallyrun.command.outfile import must_be_writable
from tallyrun.command.progress import Bar
from tallyrun.command.session import Session
from tallyrun.command.watching import Watching
from tallyrun.errors import NotUnderstood, TallyrunError
from tallyrun.handles import AsyncBatch

QUOTED = ("provider", "model", "rows", "unpriced_rows", "input_low", "input_high", "output_low", "output_high", "low",
          "high", "basis")  # fmt: skip

File = Annotated[str, typer.Argument(help="rows: JSON lines, batch lines, or a prompt a line; - is standard input")]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="for rows that name none: gpt-4o-mini, openai/gpt-4.1")
]
Output = Annotated[str | None, typer.Option("--output", "-o", help="the file that results are written into; - prints")]
MaxCost = Annotated[float | None, typer.Option(min=0, metavar="USD", help="stop feeding rows before more is spent")]
How = Annotated[
    Mode, typer.Option("--mode", help="provider: their own batches, cheaper and within 24 hours; auto: where it suits")
]
Detach = Annotated[bool, typer.Option("--detach", help="print the batch's id and do not wait")]


def quote(session: Session, file: File, model: Model = None, mode: How = "online") -> None:
    """Say what a file of rows would cost, as a range. Nothing is run."""
    with session.client() as client, Bar(session) as bar:
        told = client.quote(source_of(file), model=model, mode=mode, sent=bar.sent)
    session.note(wording.quoted(told))
    if told.errors:
        raise bad_rows(told)
    session.write(told.models, QUOTED)


def run(
    session: Session,
    file: File,
    model: Model = None,
    name: Annotated[str | None, typer.Option(help="another name makes the same rows another batch")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="what costs are grouped by; repeatable")
    ] = None,
    max_cost: MaxCost = None,
    mode: How = "online",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask whether the quote is fine")] = False,
    detach: Detach = False,
    output: Output = None,
) -> None:
    """Run a file of rows as a batch: quoted, submitted, watched to its end. The same again attaches to what exists."""
    must_be_writable(output)
    if not yes:
        session.must_ask()
    watching = Watching(session, output)
    labels = labels_of(label or [])

    def approve(told: Quote) -> bool:
        return approved(session, told, max_cost, yes=yes)

    async def begin() -> None:
        async with session.async_client() as client:
            with Bar(session) as bar:
                batch = await client.submit(
                    source_of(file), model=model, name=name, labels=labels, max_cost=max_cost, mode=mode,
                    approve=bar.aside(approve), sent=bar.sent,
                )  # fmt: skip
                say_submitted(session, batch, max_cost)
                if detach:
                    print(batch.id)
                    return
                await watching.to_the_end(client, batch, bar)
            await watching.conclude(batch)

    watching.run(begin())


def source_of(file: str) -> str | IO[bytes]:
    """Return what is read: a path, or standard input."""
    if file == "-" and sys.stdin.isatty():
        raise NotUnderstood("rows are expected on standard input, and it is a terminal: pipe them in, or name a file")
    return sys.stdin.buffer if file == "-" else file


def approved(session: Session, told: Quote, max_cost: float | None, *, yes: bool) -> bool:
    """Show the quote, and ask; raise where the quote itself says no."""
    session.note(wording.quoted(told))
    if told.errors:
        raise bad_rows(told)
    if max_cost is not None and told.low > Decimal(str(max_cost)):
        said = f"even the least that this may cost, {wording.money(told.low)}, is over --max-cost {max_cost:g}"
        raise TallyrunError(said, code="over_budget", status=402, again=False)
    return yes or session.confirm("Run it?")


def bad_rows(told: Quote) -> NotUnderstood:
    """Return the error for rows that the gateway will not take."""
    lines = "".join(f"\n  {wording.fault(fault)}" for fault in told.errors[:20])
    return NotUnderstood(f"the gateway does not take these rows:{lines}", "invalid_rows")


def say_submitted(session: Session, batch: AsyncBatch, max_cost: float | None) -> None:
    """Say whether it is new."""
    if not batch.attached:
        session.note(f"{batch.id} submitted; Ctrl-C detaches, the batch continues")
        return
    session.note(f"{batch.id} exists; attached, nothing resubmitted")
    if max_cost is not None and batch.max_cost != Decimal(str(max_cost)):
        kept = "no limit" if batch.max_cost is None else f"its limit of {wording.money(batch.max_cost)}"
        session.note(f"it keeps {kept}: --max-cost is of its first submission")
    if batch.ended and batch.state != "completed":
        session.note(f"it is {batch.state}: `tallyrun retry {batch.id}`, or another --name for a new batch")


def labels_of(given: list[str]) -> dict[str, str]:
    """Return the labels; raise where one is none."""
    pairs = [label.partition("=") for label in given]
    if wrong := [name for name, equals, _ in pairs if not equals or not name]:
        raise NotUnderstood(f"--label is name=value, unlike {wrong[0]!r}")
    return {name: value for name, _, value in pairs}
