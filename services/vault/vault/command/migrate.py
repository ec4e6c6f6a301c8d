"""`vault migrate`: bring the database up to this version."""

from common.commands import tell
from common.logs import configure_logging
from vault.command.output import run
from vault.settings import KeyringSettings
from vault.store import migrate as bring_up


def migrate() -> None:
    """Bring the database up to this version, and say what was applied. No master key is needed."""
    run(_migrate())


async def _migrate() -> None:
    settings = KeyringSettings()
    configure_logging("vault", settings.log_level)
    tell(await bring_up(settings.database_url.get_secret_value()))
