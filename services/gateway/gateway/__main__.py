"""`python -m gateway`."""

from common.http import serve
from common.logs import configure_logging
from common.telemetry import TRACING
from gateway.app import create_app
from gateway.settings import GatewaySettings


def main() -> None:
    """Serve until told to stop."""
    settings = GatewaySettings()
    configure_logging("gateway", settings.log_level)
    TRACING.start("gateway", settings)
    serve(create_app(settings), settings.host, settings.gateway_port, settings.drain_seconds)


if __name__ == "__main__":
    main()
