"""The command itself: without a subject it serves."""

import sys

import typer

from common.core_dumps import forbid_core_dumps
from common.logs import configure_logging
from common.telemetry import TRACING
from vault.app import create_app
from vault.command import audit, keyring, legacy, migrate, rewrap
from vault.master_key import MasterKeyRefused
from vault.settings import VaultSettings

app = typer.Typer(
    help="The only place that opens a provider key. Without a subject: serve until SIGTERM.",
    pretty_exceptions_enable=False,  # they would print local variables, the master key among them
)
app.add_typer(keyring.app, name="keyring")
app.command()(rewrap.rewrap)
app.add_typer(audit.app, name="audit")
app.add_typer(legacy.app, name="legacy")
app.command()(migrate.migrate)


@app.callback(invoke_without_command=True)
def _serve(context: typer.Context) -> None:
    """Serve unless a subject was named; a refused master key ends the start with its reason."""
    if context.invoked_subcommand is not None:
        return
    from common.http import serve  # noqa: PLC0415 - a second of imports that no other command needs

    settings = VaultSettings()
    configure_logging("vault", settings.log_level)
    forbid_core_dumps()
    try:
        service = create_app(settings)
    except MasterKeyRefused as refused:
        sys.exit(f"The vault does not start. {refused}")
    TRACING.start("vault", settings)
    serve(service, settings.host, settings.vault_port, settings.drain_seconds)


def main() -> None:
    """Run what was typed."""
    app()
