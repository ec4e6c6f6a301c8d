"""The command itself: its subjects, and what it exits with."""

import sys

import typer

from tallyrun.command import account, batches, config, cost, exits, export, outcome, prompt, rejected, reprice, run
from tallyrun.command.output import note
from tallyrun.command.session import in_session
from tallyrun.errors import TallyrunError

app = typer.Typer(
    help="Run prompts on your own keys, and know what every one cost. `tallyrun login` says where and as whom; so do"
    " TALLYRUN_URL and TALLYRUN_TOKEN.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would print local variables, tokens among them
    context_settings={"help_option_names": ["-h", "--help"]},
)

for each in (
    *(account.login, account.connect, prompt.prompt, prompt.models, run.quote, run.run),
    *(batches.ls, batches.status, batches.watch, batches.results, batches.retry, batches.cancel, cost.cost),
    *(export.export, reprice.reprice, outcome.outcome),
):
    app.command()(in_session(each))
app.add_typer(account.app, name="keys")
app.add_typer(rejected.app, name="rejected")
app.add_typer(config.app, name="config")


def main() -> None:
    """Run what was typed; exit as documented."""
    try:
        app(prog_name="tallyrun")
    except TallyrunError as error:
        note(f"tallyrun: {error.message}")
        if error.status == 401:
            note("Log in with `tallyrun login`, or put an access token into TALLYRUN_TOKEN.")
        sys.exit(exits.of_error(error))
