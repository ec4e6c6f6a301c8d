"""`tallyrun prompt` and `tallyrun models`: one run, its answer on standard output and its cost on standard error."""

import sys
from decimal import Decimal
from typing import Annotated

import typer

from tallyrun.client import Client
from tallyrun.command import wording
from tallyrun.command.output import Format, as_json, readable
from tallyrun.command.session import Session
from tallyrun.errors import NotUnderstood
from tallyrun.prompts import Run

COUNTED_SECONDS, LOOK_SECONDS = 10, 0.25
"""How long a streamed run's cost is waited for: it is counted a moment after its end."""


def prompt(
    session: Session,
    text: Annotated[str, typer.Argument(help="the prompt; - is standard input")],
    model: Annotated[str, typer.Option("--model", "-m", help="gpt-4o-mini, or openai/gpt-4o-mini")],
    stream: Annotated[bool, typer.Option("--stream", help="write the answer while it comes")] = False,
) -> None:
    """Run one prompt."""
    asked = sys.stdin.read() if text == "-" else text
    if not asked.strip():
        raise NotUnderstood("the prompt is empty")
    with session.client() as client:
        if stream:
            return _streamed(session, client, asked, model)
        answer = client.prompt(asked, model)
    print(as_json(answer) if session.how in (Format.JSON, Format.JSONL) else readable(answer.text))
    session.note(_told(answer.model, answer.input_tokens, answer.output_tokens, answer.cost, answer.run_id))
    return None


def models(
    session: Session,
    prices: Annotated[
        bool, typer.Option("--prices", help="with US dollars for a million tokens, at list price")
    ] = False,
) -> None:
    """List the models of the connected providers that the gateway knows prices of."""
    with session.client() as client:
        if prices:
            session.write(client.prices(), ("model", "input", "output"))
        else:
            session.write(client.models(), ("id", "owned_by"))


def _streamed(session: Session, client: Client, text: str, model: str) -> None:
    run_id = None
    for piece in client.stream(text, model):
        run_id = piece.run_id
        print(readable(piece.text), end="", flush=True)
    print()
    if run_id is not None and not session.quiet:
        run = _counted(client, run_id)
        usage = (run.usage.input, run.usage.output) if run.usage else (0, 0)
        session.note(_told(run.model, *usage, run.cost, run_id) if run.ended else f"run {run_id} is not counted yet")


def _counted(client: Client, run_id: str) -> Run:
    """Return the run once its cost is known, or as it is after a while."""
    for _ in range(int(COUNTED_SECONDS / LOOK_SECONDS)):
        if (run := client.run(run_id)).ended:
            break
        client.transport.sleep(LOOK_SECONDS)
    return run


def _told(model: str, tokens_in: int, tokens_out: int, cost: Decimal | None, run_id: str) -> str:
    """Return what it took, in a line."""
    dollars = "unpriced" if cost is None else wording.money(cost)
    return f"{model} · {tokens_in:,} in, {tokens_out:,} out · {dollars} · run {run_id}"
