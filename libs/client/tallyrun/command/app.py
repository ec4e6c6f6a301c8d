"""The command itself: its subjects, and what it exits with."""

import sys

import typer

from tallyrun.command import rejected
from tallyrun.command.output import note
from tallyrun.errors import TallyrunError, Unreachable

app = typer.Typer(
    help="Run prompts on your own keys, and know what every one cost. TALLYRUN_URL and TALLYRUN_TOKEN say where, and as"
    " whom.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would print local variables, tokens among them
)
app.add_typer(rejected.app, name="rejected")

INTERNAL, USAGE, AUTHENTICATION, NOT_FOUND, UNREACHABLE = 1, 2, 4, 5, 7

EXITS = {401: AUTHENTICATION, 403: AUTHENTICATION, 404: NOT_FOUND, 422: USAGE, 503: UNREACHABLE}


@app.callback()
def _subjects() -> None:
    """Keep subjects even while there is only one: Typer would drop its name."""


def main() -> None:
    """Run what was typed; exit as documented."""
    try:
        app()
    except TallyrunError as error:
        note(f"tallyrun: {error.message}")
        if error.status == 401:
            note("Put an access token into TALLYRUN_TOKEN.")
        sys.exit(UNREACHABLE if isinstance(error, Unreachable) else EXITS.get(error.status, INTERNAL))
