"""`python -m analytics`."""

from analytics.app import create_app
from analytics.settings import Settings
from common.http import serve
from common.logs import configure_logging
from common.telemetry import TRACING


def main() -> None:
    """Serve until stopped."""
    settings = Settings()
    configure_logging("analytics", settings.log_level)
    TRACING.start("analytics", settings)
    serve(create_app(settings), settings.host, settings.analytics_port, settings.drain_seconds)


if __name__ == "__main__":
    main()
