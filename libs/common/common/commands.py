"""What a service's module does when it is run: it serves, or brings its database up."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from common.errors import TallyrunError

Migrate = Callable[[], Coroutine[Any, Any, list[str]]]
"""Brings the database up, and returns which migrations were applied."""


def service_command(service: str, serve: Callable[[], None], migrate: Migrate) -> None:
    """Do what the command line says; a known failure of `migrate` ends the process with its message."""
    parser = argparse.ArgumentParser(prog=f"python -m {service}", description="Without a command: serve until SIGTERM.")
    parser.add_argument(
        "command", nargs="?", choices=["migrate"], help="bring the database up to this version, and end"
    )
    if parser.parse_args().command is None:
        return serve()
    try:
        return tell(asyncio.run(migrate()))
    except TallyrunError as error:
        sys.exit(f"{service}: {error.message}")


def tell(applied: list[str]) -> None:
    """Write which migrations were applied."""
    lines = [f"applied {migration}" for migration in applied] or ["nothing to do: the database is up to date"]
    sys.stdout.writelines(f"{line}\n" for line in lines)
