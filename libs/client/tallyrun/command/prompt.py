"""`tallyrun prompt`: one run, its answer on standard output and its cost on standard error."""

import sys
from typing import Annotated

import typer

from tallyrun.command import wording
from tallyrun.command.output import Format, as_json
from tallyrun.command.session import Session
from tallyrun.errors import NotUnderstood
from tallyrun.prompts import Answer


def prompt(
    session: Session,
    text: Annotated[str, typer.Argument(help="the prompt; - is standard input")],
    model: Annotated[str, typer.Option("--model", "-m", help="provider/model: openai/gpt-4o-mini")],
) -> None:
    """Run one prompt."""
    asked = sys.stdin.read() if text == "-" else text
    if not asked.strip():
        raise NotUnderstood("the prompt is empty")
    with session.client() as client:
        answer = client.prompt(asked, model)
    print(as_json(answer) if session.how in (Format.JSON, Format.JSONL) else answer.text)
    session.note(told(answer))


def told(answer: Answer) -> str:
    """Return what it took, in a line."""
    cost = "unpriced" if answer.cost is None else wording.money(answer.cost)
    return f"{answer.model} · {answer.input_tokens:,} in, {answer.output_tokens:,} out · {cost} · run {answer.run_id}"
