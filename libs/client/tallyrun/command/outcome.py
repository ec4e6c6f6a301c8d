"""`tallyrun outcome`: what became of a run's answer."""

from typing import Annotated

import typer

from tallyrun.command.output import Format, as_json
from tallyrun.command.session import Session
from tallyrun.errors import NotUnderstood
from tallyrun.prompts import Outcome


def outcome(
    session: Session,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="the run's id")],
    good: Annotated[bool | None, typer.Option("--good/--bad", help="whether the answer served its purpose")] = None,
    score: Annotated[float | None, typer.Option(min=0, max=1, help="how well, from 0 to 1")] = None,
    note: Annotated[str | None, typer.Option(help="a word on it")] = None,
) -> None:
    """Say what became of a run's answer, in place of what was said before."""
    if good is None and score is None and not note:
        raise NotUnderstood("say at least one of --good, --bad, --score and --note")
    with session.client() as client:
        said = client.outcome(run_id, success=good, score=score, note=note)
    if session.how in (Format.JSON, Format.JSONL):
        print(as_json(said))
    session.note(f"run {run_id}: {_told(said)}")


def _told(said: Outcome) -> str:
    judged = {True: ["good"], False: ["bad"], None: []}[said.success]
    scored = [] if said.score is None else [f"score {said.score:f}"]
    return " · ".join([*judged, *scored, *([said.note] if said.note else [])])
