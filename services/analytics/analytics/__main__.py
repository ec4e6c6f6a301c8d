"""`python -m analytics`: serve; `python -m analytics migrate`: bring the database up to this version."""

from analytics.app import create_app
from analytics.clickhouse import ClickHouse
from analytics.settings import DatabaseSettings, Settings
from common.commands import service_command
from common.http import serve
from common.logs import configure_logging
from common.telemetry import TRACING


def main() -> None:
    """Serve until stopped."""
    settings = Settings()
    configure_logging("analytics", settings.log_level)
    TRACING.start("analytics", settings)
    serve(create_app(settings), settings.host, settings.analytics_port, settings.drain_seconds)


async def _migrate() -> list[str]:
    settings = DatabaseSettings()
    configure_logging("analytics", settings.log_level)
    clickhouse = ClickHouse(
        settings.clickhouse_dsn.get_secret_value(), settings.clickhouse_database, settings.clickhouse_cluster
    )
    try:
        return await clickhouse.migrate()
    finally:
        await clickhouse.close()


if __name__ == "__main__":
    service_command("analytics", main, _migrate)
