"""Structured logs: one JSON object a line on standard error."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_FIELDS = "{asctime}{levelname}{name}{message}"


def configure_logging(service: str, level: str) -> None:
    """Send every record of this process to standard error as JSON, with the service's name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            _FIELDS,
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Libraries that speak of every fetch, request or heartbeat; the SDKs write prompts at DEBUG.
    for noisy in ("aiokafka", "anthropic", "faststream", "httpcore2", "httpx2", "openai"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
