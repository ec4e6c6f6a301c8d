"""`python -m gateway`: serve; `python -m gateway migrate`: bring the database up to this version."""

from common.commands import service_command
from common.http import serve
from common.logs import configure_logging
from common.telemetry import TRACING
from gateway.app import create_app
from gateway.settings import DatabaseSettings, GatewaySettings
from gateway.store.schema import SCHEMA


def main() -> None:
    """Serve until told to stop."""
    settings = GatewaySettings()
    configure_logging("gateway", settings.log_level)
    TRACING.start("gateway", settings)
    serve(create_app(settings), settings.host, settings.gateway_port, settings.drain_seconds)


async def _migrate() -> list[str]:
    settings = DatabaseSettings()
    configure_logging("gateway", settings.log_level)
    return await SCHEMA.bring_up(settings.database_url.get_secret_value())


if __name__ == "__main__":
    service_command("gateway", main, _migrate)
