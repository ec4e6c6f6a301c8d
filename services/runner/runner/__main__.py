"""`python -m runner`."""

from common.core_dumps import forbid_core_dumps
from common.http import serve
from common.logs import configure_logging
from common.providers import ProviderSettings
from common.telemetry import TRACING
from runner.app import create_app
from runner.settings import RunnerSettings


def main() -> None:
    """Run one runner until SIGTERM."""
    settings = RunnerSettings()
    configure_logging("runner", settings.log_level)
    forbid_core_dumps()
    TRACING.start("runner", settings)
    serve(create_app(settings, ProviderSettings()), settings.host, settings.runner_port, drain_seconds=1)


if __name__ == "__main__":
    main()
