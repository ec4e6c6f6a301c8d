"""Structured logs: one JSON object a line on standard error, with its run and trace, without key material."""

import logging
import sys
from types import TracebackType

from pythonjsonlogger.json import JsonFormatter

from common.redaction import SECRETS
from common.telemetry import correlation

_FIELDS = "{asctime}{levelname}{name}{message}"

QUIET = ("aiokafka", "alembic", "anthropic", "httpcore2", "httpx2", "openai", "urllib3")
"""Libraries that speak of every fetch, request or heartbeat; the SDKs write prompts at DEBUG."""

log = logging.getLogger(__name__)


class RedactingFormatter(JsonFormatter):
    """Looks at the line as it will be written: message, arguments, extras and traceback are all in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return SECRETS.redacted(super().format(record))


def configure_logging(service: str, level: str) -> None:
    """Send every record of this process to standard error as JSON, with the service's name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        RedactingFormatter(
            _FIELDS,
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )
    )
    handler.addFilter(_correlated)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _last_words
    for noisy in QUIET:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _correlated(record: logging.LogRecord) -> bool:
    """Add the run and the trace that the line is about, unless it names a run itself."""
    vars(record).update({name: value for name, value in correlation().items() if name not in vars(record)})
    return True


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what ends the process: the interpreter would print it as it is."""
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the process ends by an error", exc_info=(kind, error, trace))
